# How long a disk completed nothing, in this machine's own time: what the machine slept through does not count.
#
#   $1: the disk's stat file; $2: a file for the answer, which is there once this has ended (SIGTERM):
#       hundredths of a second of the longest pause, the uptime at its end (hundredths of a second too), looks
trap over=1 TERM
over='' longest=0 at=0 looks=0
look() {
    read -r reads _ _ _ writes _ <"$1"
    read -r up _ </proc/uptime
    now=${up%.*}${up#*.} completed=$((reads + writes))
}
look "$1"
pause=0
while [ -z "$over" ]; do
    sleep 0.1
    then=$now before=$completed
    look "$1"
    # A machine that is there looks ten times a second; of a longer time nobody knows what it was there for.
    awake=$((now - then))
    [ $awake -le 20 ] || awake=20
    pause=$((pause + awake)) looks=$((looks + 1))
    [ $pause -le $longest ] || longest=$pause at=$now
    # The next pause may have begun right after the look before this one.
    [ $completed -eq $before ] || pause=$awake
done
echo $longest $at $looks >"$2"
