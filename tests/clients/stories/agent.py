"""An agent of 30 lines: it searches, and writes word by word what its model says."""
import json, signal, sys

text = ""


def say(event, **fields):
    print(json.dumps({"event": event, **fields}))


def stop(*_):
    say("result", output=text)
    sys.exit(0)


signal.signal(signal.SIGTERM, stop)
asked = json.load(sys.stdin)
if isinstance(asked, dict):  # LangGraph has messages; AgentOS and the native API send the text
    asked = asked["messages"][-1]["content"]
say("tool.started", id="1", name="search", input={"query": asked})
say("tool.ended", id="1", output=["green", "black"])
with open("model") as model:  # a pipe, which stands for a model that answers a word at a time
    for line in model:
        word = line.rstrip("\n")
        text += word
        say("content", text=word)
say("usage", input_tokens=len(asked.split()), output_tokens=len(text.split()))
say("result", output=text)
