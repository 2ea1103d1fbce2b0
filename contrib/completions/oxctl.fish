# fish completion for oxctl. Made by `make docs` from its table of commands. Changes here are lost.

# Whether the command, or the address in front of a mode, is one of the words; "" if there is none yet.
function __oxctl_is
    set -l skips
    for word in (commandline -opc)[2..]
        if set -q skips[1]
            set skips
            continue
        end
        switch $word
            case -s --server --timeout --user --password-file --ca --cert --key --interval --count
                set skips yes
            case '-*'
            case '*'
                contains -- $word $argv
                return
        end
    end
    contains -- "" $argv
end

function __oxctl_has_address
    not __oxctl_is "" ping stats hotkeys latency slow large largest prefixes watch dump load top
end

complete -c oxctl -f
complete -c oxctl -n '__oxctl_is dump load' -F
complete -c oxctl -n '__oxctl_is watch' -a 'fetchers mutations evictions connevents deletions proxyreqs proxyevents proxyuser slow large'
complete -c oxctl -s s -l server -x -a '(__fish_print_hostnames)' -d 'the server'
complete -c oxctl -l timeout -x -d 'longest wait for an answer'
complete -c oxctl -l json -d 'JSON instead of tables'
complete -c oxctl -l user -x -d 'login, for servers with -Y'
complete -c oxctl -l password-file -r -F -d 'login, for servers with -Y'
complete -c oxctl -l tls -d 'TLS; FILE has the authorities\' certificates'
complete -c oxctl -l ca -r -F -d 'TLS; FILE has the authorities\' certificates'
complete -c oxctl -l cert -r -F -d 'the client\'s certificate and key'
complete -c oxctl -l key -r -F -d 'the client\'s certificate and key'
complete -c oxctl -l overwrite -d 'also replace items that exist'
complete -c oxctl -l interval -x -d 'time between two looks'
complete -c oxctl -l count -x -d 'end after N lines'
complete -c oxctl -s h -l help -d 'this text'
complete -c oxctl -s V -l version -d 'the version'
complete -c oxctl -n '__oxctl_is ""' -a ping -d 'whether the server answers'
complete -c oxctl -n '__oxctl_is ""' -a stats -d 'statistics'
complete -c oxctl -n '__oxctl_is ""' -a hotkeys -d 'most popular keys'
complete -c oxctl -n '__oxctl_is ""' -a latency -d 'latencies'
complete -c oxctl -n '__oxctl_is ""' -a slow -d 'turns that took long'
complete -c oxctl -n '__oxctl_is ""' -a large -d 'large values that were stored or sent'
complete -c oxctl -n '__oxctl_is ""' -a largest -d 'largest items'
complete -c oxctl -n '__oxctl_is ""' -a prefixes -d 'items, bytes and hits by prefix'
complete -c oxctl -n '__oxctl_is ""' -a watch -d 'stream of events'
complete -c oxctl -n '__oxctl_is ""' -a dump -d 'write all items to a file or standard output'
complete -c oxctl -n '__oxctl_is ""' -a load -d 'store the items of a dump'
complete -c oxctl -n '__oxctl_is ""' -a top -d 'live view in the terminal'
complete -c oxctl -n '__oxctl_has_address' -a display -d 'slab classes'
complete -c oxctl -n '__oxctl_has_address' -a stats -d 'the statistics of that name'
complete -c oxctl -n '__oxctl_has_address' -a settings -d 'the statistics of that name'
complete -c oxctl -n '__oxctl_has_address' -a sizes -d 'the statistics of that name'
complete -c oxctl -n '__oxctl_has_address' -a dump -d 'items, as the commands that store them'
complete -c oxctl -n '__oxctl_has_address' -a keys -d 'keys and their attributes'
complete -c oxctl -n '__oxctl_has_address' -a move -d 'as display'
