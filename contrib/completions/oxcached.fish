# fish completion for oxcached. Made by `make docs` from the option table. Changes here are lost.

# The names of -o, behind what the list has already.
function __oxcached_names
    set -l list (commandline -ct | string replace -r '^(-o|--extended=)' '')
    set -l last (string split , -- $list)[-1]
    set -l head (string sub -l (math (string length -- $list) - (string length -- $last)) -- $list)
    if string match -q '*=*' -- $last
        set -l name (string split -m 1 = -- $last)[1]
        set -l value (string split -m 1 = -- $last)[2]
        switch $name
            case hash_algorithm
                printf '%s\n' "$head$name="{jenkins,murmur3,xxh3}
            case slab_automove
                printf '%s\n' "$head$name="{0,1,2}
            case ssl_chain_cert
                printf '%s\n' "$head$name="(__fish_complete_path $value | string replace -r '\t.*' '')
            case ssl_key
                printf '%s\n' "$head$name="(__fish_complete_path $value | string replace -r '\t.*' '')
            case ssl_keyformat
                printf '%s\n' "$head$name="{1,2}
            case ssl_verify_mode
                printf '%s\n' "$head$name="{0,1,2,3}
            case ssl_ca_cert
                printf '%s\n' "$head$name="(__fish_complete_path $value | string replace -r '\t.*' '')
            case ssl_min_version
                printf '%s\n' "$head$name="{2,3}
            case latency
                printf '%s\n' "$head$name="{off,turn,full}
            case admin_token_file
                printf '%s\n' "$head$name="(__fish_complete_path $value | string replace -r '\t.*' '')
            case cluster_file
                printf '%s\n' "$head$name="(__fish_complete_path $value | string replace -r '\t.*' '')
            case durability
                printf '%s\n' "$head$name="{async,batch,sync}
            case store_on_error
                printf '%s\n' "$head$name="{refuse,cache}
            case store_policy_get
                printf '%s\n' "$head$name="{both,cache}
            case store_policy_set
                printf '%s\n' "$head$name="{both,cache}
            case store_policy_delete
                printf '%s\n' "$head$name="{both,cache}
            case store_policy_flush
                printf '%s\n' "$head$name="{both,cache}
        end
        return
    end
    printf '%s\t%s\n' "$head"maxconns_fast ''
    printf '%s\t%s\n' "$head"no_maxconns_fast 'when connections run out let clients wait, instead of telling them and closing'
    printf '%s\t%s\n' "$head"maxconns_per_ip= 'most connections from one address'
    printf '%s\t%s\n' "$head"hashpower= 'the hash table starts with 2 to this power buckets, 12 to 32, and grows'
    printf '%s\t%s\n' "$head"no_hashexpand 'never grow the hash table'
    printf '%s\t%s\n' "$head"hash_algorithm= 'jenkins, murmur3 or xxh3'
    printf '%s\t%s\n' "$head"tail_repair_time= 'seconds, 10 or more'
    printf '%s\t%s\n' "$head"slab_reassign ''
    printf '%s\t%s\n' "$head"no_slab_reassign 'never move memory pages between slab classes'
    printf '%s\t%s\n' "$head"slab_automove '0 pages move only on command, 1 when it helps, 2 at every eviction'
    printf '%s\t%s\n' "$head"no_slab_automove ''
    printf '%s\t%s\n' "$head"slab_automove_ratio= 'a class this much younger than the oldest gets a page'
    printf '%s\t%s\n' "$head"slab_automove_window= 'samples looked at before a page moves, 3 to 1800'
    printf '%s\t%s\n' "$head"slab_sizes= 'the slab classes themselves, in bytes, rising, joined by dashes'
    printf '%s\t%s\n' "$head"slab_chunk_max= 'largest chunk in kilobytes'
    printf '%s\t%s\n' "$head"no_chunked_items 'one chunk an item, however large'
    printf '%s\t%s\n' "$head"lru_crawler ''
    printf '%s\t%s\n' "$head"no_lru_crawler 'no background thread looking for expired items'
    printf '%s\t%s\n' "$head"lru_crawler_sleep= 'microseconds between two items, up to 1000000'
    printf '%s\t%s\n' "$head"lru_crawler_tocrawl= 'most items a slab class in one run'
    printf '%s\t%s\n' "$head"lru_maintainer ''
    printf '%s\t%s\n' "$head"no_lru_maintainer 'one list a slab class and no thread to tend it'
    printf '%s\t%s\n' "$head"hot_lru_pct= 'percent of memory for new items'
    printf '%s\t%s\n' "$head"warm_lru_pct= 'percent of memory for items read more than once'
    printf '%s\t%s\n' "$head"hot_max_factor= 'an item idle for longer than this times the age of the cold list leaves the hot one'
    printf '%s\t%s\n' "$head"warm_max_factor= 'the same for the warm list'
    printf '%s\t%s\n' "$head"temporary_ttl= 'items that live this many seconds or less get a list of their own, from which nothing is evicted'
    printf '%s\t%s\n' "$head"classic_second 'a time to live of N seconds ends up to a second early, as in memcached, instead of up to a second late'
    printf '%s\t%s\n' "$head"idle_timeout= 'seconds after which a silent connection is closed'
    printf '%s\t%s\n' "$head"write_timeout= 'seconds after which a connection is closed whose peer takes none of its replies'
    printf '%s\t%s\n' "$head"auth_timeout= 'with -S or -Y'
    printf '%s\t%s\n' "$head"watcher_logbuf_size= 'kilobytes buffered for each watcher'
    printf '%s\t%s\n' "$head"worker_logbuf_size= 'kilobytes in which each worker keeps events for watchers'
    printf '%s\t%s\n' "$head"read_buf_mem_limit= 'megabytes for the buffers of all connections'
    printf '%s\t%s\n' "$head"resp_obj_mem_limit ''
    printf '%s\t%s\n' "$head"track_sizes 'count item sizes for "stats sizes"'
    printf '%s\t%s\n' "$head"sock_cookie_id= 'mark put on listening sockets, for packet filters'
    printf '%s\t%s\n' "$head"modern 'changes nothing'
    printf '%s\t%s\n' "$head"no_modern 'the defaults of the 1'
    printf '%s\t%s\n' "$head"inline_ascii_resp ''
    printf '%s\t%s\n' "$head"no_inline_ascii_resp ''
    printf '%s\t%s\n' "$head"unix_group= 'group of the unix sockets, by name or number'
    printf '%s\t%s\n' "$head"ssl_chain_cert= 'certificate chain of the server, PEM'
    printf '%s\t%s\n' "$head"ssl_key= 'private key of that certificate'
    printf '%s\t%s\n' "$head"ssl_keyformat= '1 the key file is PEM, 2 it is DER'
    printf '%s\t%s\n' "$head"ssl_verify_mode= 'client certificates'
    printf '%s\t%s\n' "$head"ssl_ciphers= 'cipher suites of TLS 1'
    printf '%s\t%s\n' "$head"ssl_ca_cert= 'certificates of those who may sign clients\', PEM'
    printf '%s\t%s\n' "$head"ssl_wbuf_size= 'kilobytes encrypted at a time for one connection'
    printf '%s\t%s\n' "$head"ssl_session_cache 'let clients resume their sessions'
    printf '%s\t%s\n' "$head"ssl_min_version= 'oldest version to accept'
    printf '%s\t%s\n' "$head"save_on_term 'with -e: SIGTERM and SIGINT keep the items too, as SIGUSR1 does'
    printf '%s\t%s\n' "$head"drain= 'seconds in which a server that stops answers what has arrived before it closes connections, up to 3600'
    printf '%s\t%s\n' "$head"latency= 'what is timed'
    printf '%s\t%s\n' "$head"slow_threshold= 'microseconds from which a turn is kept for stats slow'
    printf '%s\t%s\n' "$head"large_threshold= 'bytes, 4096 or more'
    printf '%s\t%s\n' "$head"hotkeys 'sample keys from the start on, for `stats hotkeys`'
    printf '%s\t%s\n' "$head"hotkeys_sample= 'one key access in so many is sampled'
    printf '%s\t%s\n' "$head"hotkeys_window= 'seconds in which samples of keys are counted together'
    printf '%s\t%s\n' "$head"admin_conns= 'most connections of the admin listener'
    printf '%s\t%s\n' "$head"admin_token_file= 'file whose first line clients of the admin listener must send, as bearer token or as password'
    printf '%s\t%s\n' "$head"admin_insecure 'serve addresses that other machines reach without a token'
    printf '%s\t%s\n' "$head"admin_write 'let clients of the admin listener change settings'
    printf '%s\t%s\n' "$head"admin_host= 'another name by which browsers reach the admin listener'
    printf '%s\t%s\n' "$head"cluster_file= 'file of host|ip|port words, the servers of a cluster, for clients that ask for them (config get cluster)'
    printf '%s\t%s\n' "$head"store= 'keep a durable copy of the items, as sqlite'
    printf '%s\t%s\n' "$head"durability= 'what changes survive, and when'
    printf '%s\t%s\n' "$head"store_delay= 'milliseconds that changes wait for others before they are written (default'
    printf '%s\t%s\n' "$head"store_queue= 'megabytes of changes that may wait to be written'
    printf '%s\t%s\n' "$head"store_warm= 'items to load at the start'
    printf '%s\t%s\n' "$head"store_on_error= 'changes while the store fails and the queue is full'
    printf '%s\t%s\n' "$head"store_policy_get= 'misses: look in the store too (both), or not (cache)'
    printf '%s\t%s\n' "$head"store_policy_set= 'stored items'
    printf '%s\t%s\n' "$head"store_policy_delete= 'deletions'
    printf '%s\t%s\n' "$head"store_policy_flush= 'flush_all'
    printf '%s\t%s\n' "$head"drop_privileges 'once the server runs, each thread may make the system calls that it needs and no others, and open files only beside those that options name'
    printf '%s\t%s\n' "$head"no_drop_privileges 'run without these restrictions, as by default'
end

complete -c oxcached -f
complete -c oxcached -s p -l port -x -d 'TCP port; 0 for none, -1 for any free one'
complete -c oxcached -s U -l udp-port -x -d 'UDP port; 0 for none, -1 for any free one. Sets the TCP port too unless -p does'
complete -c oxcached -s s -l unix-socket -r -F -d 'serve this unix socket instead of the network'
complete -c oxcached -s a -l unix-mask -x -d 'file mode of the unix sockets, in octal'
complete -c oxcached -s A -l enable-shutdown -d 'let clients stop the server with "shutdown"'
complete -c oxcached -s l -l listen -x -d 'address to serve'
complete -c oxcached -s d -l daemon -d 'go to the background'
complete -c oxcached -s r -l enable-coredumps -d 'raise the core file size limit as far as it goes'
complete -c oxcached -s u -l user -x -a '(__fish_complete_users)' -d 'become this user'
complete -c oxcached -s m -l memory-limit -x -d 'memory for items, in megabytes'
complete -c oxcached -s M -l disable-evictions -d 'when memory is full fail the command, evict nothing'
complete -c oxcached -s c -l conn-limit -x -d 'most connections at a time'
complete -c oxcached -s k -l lock-memory -d 'keep all memory out of swap'
complete -c oxcached -s v -l verbose -d 'say more on standard error'
complete -c oxcached -s h -l help -d 'show this text and leave'
complete -c oxcached -s i -l license -d 'show the licences and leave'
complete -c oxcached -s V -l version -d 'show the version and leave'
complete -c oxcached -s P -l pidfile -r -F -d 'write the process id here'
complete -c oxcached -s f -l slab-growth-factor -x -d 'size ratio of neighbouring slab classes'
complete -c oxcached -s n -l slab-min-size -x -d 'least room for key, value and flags'
complete -c oxcached -s L -l enable-largepages -d 'refuse to start where the kernel gives no large pages'
complete -c oxcached -s D -x -d 'the character that ends a key\'s prefix'
complete -c oxcached -s t -l threads -x -d 'worker threads'
complete -c oxcached -s R -l max-reqs-per-event -x -d 'commands a connection may run in a row before the others are looked at'
complete -c oxcached -s C -l disable-cas -d 'no compare-and-swap'
complete -c oxcached -s b -l listen-backlog -x -d 'connections the system may queue for a listener'
complete -c oxcached -s B -l protocol -x -a 'ascii auto binary' -d 'ascii, binary or auto (default'
complete -c oxcached -s I -l max-item-size -x -d 'largest item, in bytes or with k or m behind (default'
complete -c oxcached -s S -l enable-sasl -d 'clients must log in with SASL (binary protocol only)'
complete -c oxcached -s F -l disable-flush-all -d 'refuse flush_all'
complete -c oxcached -s X -l disable-dumping -d 'refuse cachedump, metadump, mgdump and stats detail'
complete -c oxcached -s W -l disable-watch -d 'refuse watch'
complete -c oxcached -s Y -l auth-file -r -F -d 'clients must log in with "set" and "user password" as its value (text protocol only)'
complete -c oxcached -s e -l memory-file -r -F -d 'keep items in a file on tmpfs or DAX'
complete -c oxcached -s Z -l enable-ssl -d 'speak TLS on TCP'
complete -c oxcached -l admin -x -d 'address of the admin listener'
complete -c oxcached -l config -r -F -d 'read more options from this file, lines as in Debian\'s memcached'
complete -c oxcached -l check-config -d 'check the options and the files they name, show what would run, and leave'
complete -c oxcached -s N -l napi-ids -x -d 'receive queues of the network card, at most as many as threads'
complete -c oxcached -s o -l extended -x -a '(__oxcached_names)' -d 'further options, separated by commas'
complete -c oxcached -l hash-password -x -a '(__fish_complete_users)' -d 'Print a line for a file of users'
