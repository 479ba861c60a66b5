# Loops, functions, arithmetic, patterns and words, without any other program.
gcd() { a=$1 b=$2; while [ "$b" -ne 0 ]; do c=$((a % b)) a=$b b=$c; done; result=$a; }
i=0 sum=0
while [ $i -lt 7000 ]; do
    i=$((i + 1))
    gcd $i 360
    sum=$((sum + result))
done
echo "sum $sum"
words= count=0
for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    for w in alpha beta gamma delta epsilon zeta eta theta; do
        case $w$n in
            *a1*) count=$((count + 1)) ;;
            e*[02468]) words="$words ${w%a}-$n" ;;
            *) count=$((count + ${#w})) ;;
        esac
    done
done
echo "$count ${words#?}"
number=27 steps=0
for start in 27 97 871 6171 77031; do
    number=$start
    while [ "$number" -ne 1 ]; do
        if [ $((number % 2)) -eq 0 ]; then number=$((number / 2)); else number=$((3 * number + 1)); fi
        steps=$((steps + 1))
    done
done
echo "steps $steps"
text=$(while read -r line; do set -- $line; printf '%s:%d ' "$1" $#; done <<END
one two three
four five
six seven eight nine
END
)
echo "$text"
