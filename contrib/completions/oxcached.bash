# bash completion for oxcached. Made by `make docs` from the option table. Changes here are lost.

_oxcached() {
    local _options='-p --port= -U --udp-port= -s --unix-socket= -a --unix-mask= -A --enable-shutdown -l
        --listen= -d --daemon -r --enable-coredumps -u --user= -m --memory-limit= -M
        --disable-evictions -c --conn-limit= -k --lock-memory -v --verbose -h --help -i --license
        -V --version -P --pidfile= -f --slab-growth-factor= -n --slab-min-size= -L
        --enable-largepages -D -t --threads= -R --max-reqs-per-event= -C --disable-cas -b
        --listen-backlog= -B --protocol= -I --max-item-size= -S --enable-sasl -F
        --disable-flush-all -X --disable-dumping -W --disable-watch -Y --auth-file= -e
        --memory-file= -Z --enable-ssl --admin= --config= --check-config -N --napi-ids= -o
        --extended= --hash-password'
    local _names='maxconns_fast no_maxconns_fast maxconns_per_ip= hashpower= no_hashexpand hash_algorithm=
        tail_repair_time= slab_reassign no_slab_reassign slab_automove no_slab_automove
        slab_automove_ratio= slab_automove_window= slab_sizes= slab_chunk_max= no_chunked_items
        lru_crawler no_lru_crawler lru_crawler_sleep= lru_crawler_tocrawl= lru_maintainer
        no_lru_maintainer hot_lru_pct= warm_lru_pct= hot_max_factor= warm_max_factor=
        temporary_ttl= classic_second idle_timeout= write_timeout= auth_timeout=
        watcher_logbuf_size= worker_logbuf_size= read_buf_mem_limit= resp_obj_mem_limit
        track_sizes sock_cookie_id= modern no_modern inline_ascii_resp no_inline_ascii_resp
        unix_group= ssl_chain_cert= ssl_key= ssl_keyformat= ssl_verify_mode= ssl_ciphers=
        ssl_ca_cert= ssl_wbuf_size= ssl_session_cache ssl_min_version= save_on_term drain=
        latency= slow_threshold= large_threshold= hotkeys hotkeys_sample= hotkeys_window=
        admin_conns= admin_token_file= admin_insecure admin_write admin_host= cluster_file= store=
        durability= store_delay= store_queue= store_warm= store_on_error= store_policy_get=
        store_policy_set= store_policy_delete= store_policy_flush= drop_privileges
        no_drop_privileges'
    # The word that is being typed, and the one before it. bash splits words at "=" and ":" too: what it takes for the
    # word is put back at the end.
    local _line=${COMP_LINE:0:COMP_POINT} _token _before _part=${COMP_WORDS[COMP_CWORD]}
    [[ $_part == [=:] ]] && _part=
    _token=${_line##*[[:space:]]}
    _before=${_line%"$_token"}
    _before=${_before%"${_before##*[![:space:]]}"}
    _before=${_before##*[[:space:]]}
    local _head= _value=$_token _option=$_before _kind= _words=
    case $_token in
        --*=*) _option=${_token%%=*} _head=${_token%%=*}= _value=${_token#*=} ;;
        -*) _option= ;;
    esac
    case $_option in
        -s | --unix-socket | -P | --pidfile | -Y | --auth-file | -e | --memory-file | --config) _kind=file ;;
        -u | --user) _kind=user ;;
        -B | --protocol) _words='ascii auto binary' ;;
        -o | --extended)
            # The last name of the list.
            _head+=${_value%"${_value##*,}"} _value=${_value##*,}
            case $_value in
                *=*)
                    local _name=${_value%%=*}
                    _head+=$_name= _value=${_value#*=} _kind=other
                    case $_name in
                hash_algorithm) _words='jenkins murmur3 xxh3' ;;
                slab_automove) _words='0 1 2' ;;
                ssl_chain_cert) _kind=file ;;
                ssl_key) _kind=file ;;
                ssl_keyformat) _words='1 2' ;;
                ssl_verify_mode) _words='0 1 2 3' ;;
                ssl_ca_cert) _kind=file ;;
                ssl_min_version) _words='2 3' ;;
                latency) _words='off turn full' ;;
                admin_token_file) _kind=file ;;
                cluster_file) _kind=file ;;
                durability) _words='async batch sync' ;;
                store_on_error) _words='refuse cache' ;;
                store_policy_get) _words='both cache' ;;
                store_policy_set) _words='both cache' ;;
                store_policy_delete) _words='both cache' ;;
                store_policy_flush) _words='both cache' ;;
                    esac
                    ;;
                *) _words=$_names ;;
            esac
            ;;
        -p | --port | -U | --udp-port | -a | --unix-mask | -l | --listen | -m | --memory-limit | -c | --conn-limit | -f | --slab-growth-factor | -n | --slab-min-size | -D | -t | --threads | -R | --max-reqs-per-event | -b | --listen-backlog | -I | --max-item-size | --admin | -N | --napi-ids) _kind=other ;;
        *) _words=$_options ;;
    esac
    local _found=()
    if [[ $_words ]]; then
        mapfile -t _found < <(compgen -W "$_words" -- "$_value")
    elif [[ $_kind == file ]]; then
        mapfile -t _found < <(compgen -f -- "$_value")
        compopt -o filenames 2>/dev/null
    elif [[ $_kind == user ]]; then
        mapfile -t _found < <(compgen -u -- "$_value")
    fi
    local _skip=${_token%"$_part"} _each
    COMPREPLY=()
    for _each in "${_found[@]}"; do
        _each=$_head$_each
        COMPREPLY+=("${_each#"$_skip"}")
    done
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= || $_option == -o || $_option == --extended ]]; then
        compopt -o nospace 2>/dev/null
    fi
}
complete -F _oxcached oxcached
