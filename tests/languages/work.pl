# Words by their number, regular expressions, sorting, formats, closures and sprintf.
use strict;
use warnings;
my %count;
open my $file, '<', 'poem' or die "poem: $!";
while (<$file>) { $count{lc $1}++ while /([a-z]+)/gi }
close $file;
my @order = sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count;
print join(' ', map { "$_=$count{$_}" } @order[0 .. 5]), "\n";
my @sieve = (1) x 3000;
for my $n (2 .. 2999) { next unless $sieve[$n]; for (my $m = $n * $n; $m < 3000; $m += $n) { $sieve[$m] = 0 } }
my @primes = grep { $sieve[$_] } 2 .. 2999;
printf "%d primes, the last %d, sum %s\n", scalar @primes, $primes[-1], eval { my $s = 0; $s += $_ for @primes; $s };
my $text = "2026-11-26T12:34:56";
if ($text =~ /^(?<y>\d+)-(?<m>\d+)-(?<d>\d+)T(.*)$/) { print "$+{d}.$+{m}.$+{y} $4\n" }
(my $turned = $text) =~ tr/0-9/9876543210/;
print "$turned ", join('|', split /[-T:]/, $text), "\n";
printf "%.15g %e %08.3f %x %o %s\n", atan2(1, 1) * 4, 1 / 3, -3.14159, 48879, 511, 10 ** 20;
my @tasks = map { my $n = $_; sub { $n * shift } } 1 .. 4;
print join(',', map { $_->(7) } @tasks), " ", pack('nNa4', 258, 16909060, 'perl') =~ s/[^ -~]/./gr, "\n";
print sprintf('%vd', '1.22.333'), " ", join(' ', sort { $a <=> $b } 10, 9, 2, 33, 1), " ", ucfirst lc 'TEXT', "\n";
eval { die { code => 7 } }; print "died with $@->{code}\n";
