# bash completion for oxctl. Made by `make docs` from its table of commands. Changes here are lost.

_oxctl() {
    local _current=${COMP_WORDS[COMP_CWORD]} _before=${COMP_WORDS[COMP_CWORD-1]} _first= _words= _kind= _at
    # The command, or the address in front of a mode. bash splits words at ":" too.
    for ((_at = 1; _at < COMP_CWORD; _at++)); do
        case ${COMP_WORDS[_at]} in
            -s | --server | --timeout | --user | --password-file | --ca | --cert | --key | --interval | --count | :) ((_at++)) ;;
            -*) ;;
            *) _first=${COMP_WORDS[_at]}; break ;;
        esac
    done
    case $_before in
        --password-file | --ca | --cert | --key) _kind=file ;;
        -s | --server | --timeout | --user | --password-file | --ca | --cert | --key | --interval | --count) ;;
        *)
            case $_current in
                -*) _words='-s --server --timeout --json --user --password-file --tls --ca --cert --key --overwrite --interval --count -h --help -V --version' ;;
                *)
                    case $_first in
                        '') _words='ping stats hotkeys latency slow large largest prefixes watch dump load top' ;;
                        dump | load) _kind=file ;;
                        watch) _words='fetchers mutations evictions connevents deletions proxyreqs proxyevents proxyuser slow large' ;;
                        ping | stats | hotkeys | latency | slow | large | largest | prefixes | watch | dump | load | top) ;;
                        *) _words='display stats settings sizes dump keys move' ;;
                    esac
                    ;;
            esac
            ;;
    esac
    COMPREPLY=()
    if [[ $_words ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$_words" -- "$_current")
    elif [[ $_kind ]]; then
        mapfile -t COMPREPLY < <(compgen -f -- "$_current")
        compopt -o filenames 2>/dev/null
    fi
}
complete -F _oxctl oxctl
