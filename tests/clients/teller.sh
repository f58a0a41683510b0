# A program that answers in words, as an assistant of LangGraph (tests/clients/programs.toml).
cat >/dev/null
echo '{"event":"content","text":"green "}'
echo '{"event":"tool.started","id":"call-1","name":"look","input":{"for":"tea"}}'
echo '{"event":"tool.ended","id":"call-1","output":"found"}'
sleep 0.3
echo '{"event":"content","text":"tea"}'
echo '{"event":"usage","input_tokens":12,"output_tokens":3}'
