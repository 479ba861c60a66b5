# Procedures, lists, dictionaries, strings, regular expressions and expressions.
proc fib n { expr {$n < 2 ? $n : [fib [expr {$n - 1}]] + [fib [expr {$n - 2}]]} }
puts "fib 15 = [fib 15]"
set file [open poem]; set counts [dict create]
foreach word [regexp -all -inline {[a-z]+} [string tolower [read $file]]] { dict incr counts $word }
close $file
set pairs {}
dict for {word count} $counts { lappend pairs [list $word $count] }
foreach pair [lrange [lsort -integer -decreasing -index 1 [lsort -index 0 $pairs]] 0 4] { puts -nonewline "$pair; " }
puts ""
puts "[format %.12g [expr {acos(-1) ** 10}]] [expr {2 ** 100}] [expr {-7 / 2}] [expr {-7 % 3}] [expr {1.0 / 3}]"
puts "[lreverse [split a,b,c ,]] [string map {a 1 b 2} abba] [binary encode hex popek] [lindex {1 2 3} end]"
if {[catch {error broken} message]} { puts "caught $message" }
puts [join [lmap n {1 2 3 4} { expr {$n * $n} }] +]
