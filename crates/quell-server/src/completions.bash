
# Names that stand in files: components of the configuration, and steps of the plan. Only those are
# completed that a shell reads as they are.
_quell_names() {
    _quell "$@"
    [[ ${COMP_WORDS[1]} == run && $2 != -* ]] || return 0
    local plain='[A-Za-z0-9_./-]+' config=() plan='' at name
    for ((at = 2; at < COMP_CWORD; at++)); do
        case ${COMP_WORDS[at]} in
            --) return 0 ;;
            --config) config=(--config "${COMP_WORDS[at + 1]}") ;;
            --*) ;;
            *.toml | *.yaml | *.yml | *.json)
                [[ ${COMP_WORDS[at - 1]} == --* ]] || plan=${COMP_WORDS[at]}
                ;;
        esac
    done
    case $3 in
        --only | --from)
            COMPREPLY=()
            [[ -n $plan ]] || return 0
            set -- "$2" plan show "$plan"
            plain="[^ ]*─ ($plain)"
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
