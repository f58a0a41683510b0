
# Names that stand in files: components of the configuration, and steps of the plan. Only those are
# completed that a shell reads as they are.
_quell_names() {
    _quell "$@"
    [[ ${COMP_WORDS[1]} == run && COMP_CWORD -gt 1 && $2 != -* ]] || return 0
    local plain='[A-Za-z0-9_./-]+' config=() plan='' option=$3 before='' word name
    for word in "${COMP_WORDS[@]:2:COMP_CWORD-2}"; do
        # An option, `=` and its value are three words here, and so are the sides of `A=b`.
        if [[ $word == = ]]; then
            [[ $before == --* ]] || before=--
            continue
        fi
        # They have no value, or theirs is in them where `=` divides no words.
        case $before in --json | --verbose | --*=*) before= ;; esac
        case $before=$word in
            *=--) return 0 ;;
            --config=*) config=(--config "$word") ;;
            *=--config=*) config=(--config "${word#*=}") ;;
            --*=* | *=--*) ;;
            *.toml | *.yaml | *.yml | *.json) plan=$word ;;
        esac
        before=$word
    done
    [[ $option != = ]] || option=$before
    case $option in --json | --verbose | --*=*) option= ;; esac
    case $option in
        --only | --from)
            COMPREPLY=()
            [[ -n $plan ]] || return 0
            set -- "$2" plan show "$plan"
            plain="[^ ]*─ ($plain):"
            ;;
        --*) return 0 ;;
        *)
            [[ -z $plan ]] || return 0
            set -- "$2" list "${config[@]}"
            plain="($plain)"
            ;;
    esac
    while read -r name; do
        [[ $name != "$1"* ]] || COMPREPLY+=("$name")
    done < <(quell "${@:2}" 2>/dev/null | sed -nE "s#^$plain([: ].*)?\$#\\1#p")
}

eval "$(complete -p quell | sed 's/-F _quell /-F _quell_names /')"
