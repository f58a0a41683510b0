"""Mistakes that anybody makes in a plan: what is replaced, by what, and what quell says of it."""

MISTAKES = {
    'a command line': (
        'run: [tar, cf, calc.tar, calc.py]',
        'run: tar cf calc.tar calc.py',
        [
            '10:25: `run`: found a string; expected a list such as `["tar", "cf", "calc.tar", "calc.py"]`',
        ],
    ),
    'three keys misspelt': (
        '  run: [sh, fetch.sh]\n  retry: { attempts: 3, backoff: 50ms }',
        '  run: [sh, fetch.sh]\n  retries: { attempts: 3 }\n  timeot: 5s\n  neeeds: [check]',
        [
            '14:3: unknown key `retries`; did you mean `retry`?',
            '15:3: unknown key `timeot`; did you mean `timeout`?',
            '16:3: unknown key `neeeds`; `needs` goes with the `branches` of `parallel`; other steps have an order of their own',
        ],
    ),
    'needs of branches misspelt': (
        'needs: [lint, test]',
        'neeeds: [lint, test]',
        [
            '10:55: unknown key `neeeds`; did you mean `needs`?',
        ],
    ),
    'needs of branches unknown': (
        'run: [tar, cf, calc.tar, calc.py], needs: [lint, test]',
        'needs: [lnt, test, build], run: [tar, cf, calc.tar, calc.py]',
        [
            '10:28: `needs`: unknown branch `lnt`; did you mean `lint`?',
            '10:39: `needs`: branch `build` needs itself; expected other branches',
        ],
    ),
    'branches that wait for each other': (
        'lint, run: [python3, -m, py_compile, calc.py] }\n  - { name: test,',
        'lint, run: [python3, -m, py_compile, calc.py], needs: [test] }\n  - { name: test, needs: [lint],',
        [
            '9:27: `needs`: branches would wait for each other: `lint → test → lint`; expected no circle',
        ],
    ),
    'the output of a branch that runs beside': (
        'run: [sh, scan.sh], ',
        'run: [sh, scan.sh, "{{ steps.test.output.stdout }}"], ',
        [
            '11:38: `run`: unknown step `test` in `{{ steps.test.output.stdout }}`; it runs beside this branch; expected `needs: ["test"]`, so that it runs before',
        ],
    ),
    'a time without a unit': (
        'timeout: 5s',
        'timeout: 30',
        [
            '11:48: `timeout`: found a number without a unit; expected a time such as "30s" or "500ms"',
        ],
    ),
    'a number of attempts alone': (
        'retry: { attempts: 3, backoff: 50ms }',
        'retry: 3',
        [
            '14:10: `retry`: found a number; expected a table such as `{ attempts: 3 }`',
        ],
    ),
    'a template without quotes': (
        'run: [sh, fetch.sh]',
        'run: [sh, fetch.sh, {{ input }}]',
        [
            '13:23: `{{ input }}` is a table in YAML; expected quotes around it: `"{{ input }}"`',
        ],
    ),
    'one equals sign': (
        'if: steps.check.output.scan.stdout',
        "if: steps.check.output.scan.stdout = 'x'",
        [
            "21:7: `if`: bad expression `steps.check.output.scan.stdout = 'x'`: unexpected input after expression; expected `==`, which compares",
        ],
    ),
    'a key of a step that is below its output': (
        "steps.part.output.stdout | trim == 'done'",
        "steps.part.stdout == 'done'",
        [
            "16:18: `until`: step `part` has no `stdout` in `steps.part.stdout == 'done'`; did you mean `steps.part.output.stdout`?",
        ],
    ),
    'a step that there is not': (
        "steps.version.output.stdout | trim }} is out'",
        "steps.verson.output.stdout }} is out'",
        [
            '25:31: `run`: unknown step `verson` in `{{ steps.verson.output.stdout }} is out`; did you mean `version`?',
        ],
    ),
    'a step that has yet to come': (
        'run: [sh, fetch.sh]',
        "run: [sh, fetch.sh, '{{ steps.upload.output }}']",
        [
            '13:23: `run`: unknown step `upload` in `{{ steps.upload.output }}`; expected one of those that come before: `check`',
        ],
    ),
    'an unknown filter': (
        '| trim }} is out, with',
        '| trimm }} is out, with',
        [
            '23:31: `run`: bad template `{{ steps.version.output.stdout | trimm }}…`: unknown filter `trimm`; did you mean `trim`?',
        ],
    ),
}
