# Runs commands that arrive on a virtio-serial port, one at a time.
#
#   request:  <token> <seconds> <command, as printf %b reads it>\n
#   answer:   the command's output as it comes, then \n<token> <status> <bytes of stderr>\n, then its stderr
#
# A command that takes longer than its seconds is killed with its whole process group.
exec 3<>"$1"
file=/run/$2
printf 'ready\n' >&3
while IFS= read -r line <&3; do
    token=${line%% *}
    line=${line#* }
    printf '%b' "${line#* }" >"$file.sh"
    setsid timeout -k 2 "${line%% *}" sh "$file.sh" </dev/null >&3 2>"$file.err" 3>&- &
    wait $!
    status=$?
    case $status in 143 | 137) kill -KILL -- -$! 2>/dev/null ;; esac
    printf '\n%s %d %d\n' "$token" "$status" "$(wc -c <"$file.err")" >&3
    cat "$file.err" >&3
done
