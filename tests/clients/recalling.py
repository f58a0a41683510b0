"""Says what it was told before, and now (tests/clients/programs.toml)."""

import json
import sys

asked = json.load(sys.stdin)
told = [said["content"] for said in asked["history"] if said["role"] == "user"]
print(", ".join([*told, asked["message"]]))
