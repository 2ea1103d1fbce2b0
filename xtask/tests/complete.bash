# Completes the command line $1 in bash, by the script $2, and prints what bash would offer, a line each.
# Readline's cut of a line into words is done here: at blanks, and at "=" and ":".
source "$2"
COMP_LINE=$1 COMP_POINT=${#1}
COMP_WORDS=()
while read -r word; do COMP_WORDS+=("$word"); done < <(
    printf '%s\n' "$1" | sed -E 's/[=:]+/\n&\n/g; s/[[:space:]]+/\n/g' | sed '/^$/d'
    case $1 in *[[:space:]=:]) echo ;; esac
)
case $1 in *[=:]) unset 'COMP_WORDS[${#COMP_WORDS[@]}-1]' ;; esac
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
"_${1%% *}"
printf '%s\n' "${COMPREPLY[@]}"
