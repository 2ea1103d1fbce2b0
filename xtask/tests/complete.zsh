# Completes each of the command lines $2... in an interactive zsh, with the folder $1 of completions, and prints what
# the terminal shows: the line after a tab, and what a second tab lists. A line "end-of-line" follows each.
zmodload zsh/zpty
zpty shell "TERM=dumb ZDOTDIR=/nonexistent zsh -f -i"
answer() { # reads until the marker $1, with a bound on the time
    local text='' part end=$((SECONDS + 60))
    while ((SECONDS < end)); do
        zpty -r -t shell part && text+=$part || sleep 0.02
        [[ $text == *$1* ]] && break
    done
    REPLY=${text%%$1*}
    [[ $text == *$1* ]]
}
folder=$1
zpty -w shell "PROMPT= RPROMPT= LISTMAX=0 COLUMNS=200; fpath=($folder \$fpath); autoload -Uz compinit; compinit -u -D"
zpty -w shell "show() { print -r -- \"<\$BUFFER>\"; print -r -- end-of-line; zle send-break }; zle -N show; bindkey '^X' show"
zpty -w shell "zstyle ':completion:*' verbose no; setopt no_always_last_prompt; print ready-\$((1+1))"
answer ready-2 || exit 1
for line in "${@:2}"; do
    zpty -w -n shell "$line"$'\t\t\x18'
    answer end-of-line || exit 1
    print -r -- $REPLY
    print -r -- end-of-line
done
zpty -d shell
