"""Clients that call as the vendor's two SDKs do."""

import json

import httpx
import requests

from demo import PLAYBOOK3D, WORKFLOWS


class Refused(Exception):
    """A call was not answered 200: this is all that the Python SDK looks at."""

    def __init__(self, status):
        super().__init__(status)
        self.status = status


class Python:
    """The calls of `playbook3d-python-sdk`: secrets once, a token before every call."""

    def __init__(self, key, root=PLAYBOOK3D):
        self.key = key
        secrets = requests.get(f"{root}/get-sdk-secrets/{key}", timeout=30)
        secrets.raise_for_status()
        secrets = secrets.json()
        self.api = secrets["BASE_URL"]
        self.accounts = secrets["ACCOUNTS_URL"]
        self.platform_key = secrets["API_KEY"]

    def token(self):
        answer = requests.get(f"{self.accounts}/token-wrapper/get-tokens/{self.key}", timeout=30)
        answer.raise_for_status()
        return answer.json()["access_token"]

    def call(self, method, url, **more):
        headers = {"Authorization": f"Bearer {self.token()}", "x-api-key": self.platform_key}
        answer = requests.request(method, url, headers=headers, timeout=30, **more)
        if answer.status_code != 200:
            raise Refused(answer.status_code)
        return answer

    def teams(self):
        return self.call("GET", f"{self.accounts}/teams").json()

    def workflows(self):
        return self.call("GET", f"{self.accounts}/workflows").json()

    def workflow(self, role):
        return next(w for w in self.workflows() if w["name"] == WORKFLOWS[role])

    def runs(self):
        return self.call("GET", f"{self.accounts}/runs").json()

    def run(self, run_id):
        return next(r for r in self.runs() if r["id"] == run_id)

    def run_workflow(self, workflow, inputs=None):
        run_id = self.call("GET", f"{self.api}/get_run_id").json()["run_id"]
        body = {"id": workflow["id"], "origin": 0, "inputs": inputs or {}}
        url = f"{self.api}/run_workflow/{workflow['team_id']}/{run_id}"
        return self.call("POST", url, json=body).json()

    def result(self, run):
        return self.call("GET", f"{self.accounts}/runs/{run['id']}/result").json()["result"]

    def cancel(self, run):
        return self.call("POST", f"{self.api}/cancel/{run['team']['id']}/{run['id']}").json()


class Unity:
    """The calls of `playbook3d-unity-sdk`: one token, bytes as bodies, no run id of its own."""

    def __init__(self, key, root=PLAYBOOK3D):
        self.http = httpx.Client(timeout=30)
        token = self.http.get(f"{root}/token-wrapper/get-tokens/{key}").json()["access_token"]
        secrets = self.http.get(f"{root}/get-sdk-secrets/{key}").json()
        self.accounts = secrets["ACCOUNTS_BASE_URL"]
        self.api = secrets["API_BASE_URL"]
        self.headers = {"Authorization": f"Bearer {token}", "X-API-KEY": secrets["X_API_KEY"]}

    def get(self, path):
        answer = self.http.get(f"{self.accounts}{path}", headers=self.headers)
        answer.raise_for_status()
        return answer.json()

    def run_workflow(self, workflow, inputs):
        body = json.dumps({"id": workflow["id"], "origin": "2", "inputs": inputs}).encode()
        headers = self.headers | {"Content-Type": "application/json"}
        url = f"{self.api}/run_workflow/{workflow['team_id']}"
        answer = self.http.post(url, headers=headers, content=body)
        answer.raise_for_status()
        return answer.json()["run_id"]

    def cancel(self, team_id, run_id):
        return self.http.post(f"{self.api}/cancel/{team_id}/{run_id}", headers=self.headers)
