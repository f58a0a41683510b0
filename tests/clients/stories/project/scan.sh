# Finds two things at once, and goes on looking for ever.
echo "calc.py:1: no docstring"
echo "calc.py:2: no types"
exec sleep 1000
