# Lists, dictionaries, strings, regular expressions, procedures and arithmetic.
proc fibonacci n { expr {$n < 2 ? $n : [fibonacci [expr {$n - 1}]] + [fibonacci [expr {$n - 2}]]} }
proc random limit {
    global seed
    set seed [expr {($seed * 1103 + 12345) % 65521}]
    return [expr {$seed % $limit}]
}
set seed 42
puts [fibonacci 19]
set sieve [lrepeat 30000 1]
for {set n 2} {$n < 30000} {incr n} {
    if {[lindex $sieve $n]} {
        for {set m [expr {$n * $n}]} {$m < 30000} {incr m $n} { lset sieve $m 0 }
    }
}
set primes 0
for {set n 2} {$n < 30000} {incr n} { incr primes [lindex $sieve $n] }
puts $primes
set counts [dict create]
for {set n 0} {$n < 20000} {incr n} { dict incr counts "key[random 400]" [random 10] }
set order [lsort -integer -decreasing -stride 2 -index 1 [dict map {k v} $counts {set v}]]
puts "[dict size $counts] [lrange $order 0 5]"
set lines {}
for {set n 0} {$n < 4000} {incr n} { lappend lines "line $n: [string repeat x [random 9]] value=[random 1000];" }
set sum 0
foreach line $lines {
    if {[regexp {line (\d+): (x*) value=(\d+);} $line -> number letters value]} {
        incr sum [expr {$value + [string length $letters]}]
    }
}
puts "$sum [string length [string map {x yy value V} [join $lines \n]]]"
puts [lrange [lsort [lmap line $lines {string reverse $line}]] 0 1]
