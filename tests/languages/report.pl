# A report on a log of requests that is made up first: hashes, regular expressions, sorting, formats.
use strict;
use warnings;
my $seed = 42;
sub random { $seed = ($seed * 1103 + 12345) % 65521; return $seed % $_[0] }
my @hosts = map { join '.', 10, random(4), random(8), $_ } 1 .. 60;
my @paths = map { "/" . join('/', map { ('shop', 'cart', 'img', 'news', 'help')[random(5)] } 0 .. random(3)) . "/$_" } 1 .. 90;
my @lines = map {
    sprintf '%s - - [%02d/Nov/2026:%02d:%02d:%02d] "%s %s HTTP/1.1" %d %d',
        $hosts[random(60)], 1 + random(28), random(24), random(60), random(60),
        ('GET', 'GET', 'GET', 'POST')[random(4)], $paths[random(90)],
        (200, 200, 200, 304, 404, 500)[random(6)], random(30000)
} 1 .. 14000;
my (%hits, %bytes, %errors, %hours);
for (@lines) {
    next unless m{^(\S+) \S+ \S+ \[(\d+)/(\w+)/(\d+):(\d+)[^\]]*\] "(\w+) (\S+)[^"]*" (\d+) (\d+)$};
    my ($host, $hour, $method, $path, $status, $size) = ($1, $5, $6, $7, $8, $9);
    $hits{$path}++;
    $bytes{$host} += $size;
    $hours{$hour}{$method}++;
    push @{ $errors{$status} }, $path if $status >= 400;
}
printf "%-28s %6d\n", $_, $hits{$_} for (sort { $hits{$b} <=> $hits{$a} || $a cmp $b } keys %hits)[0 .. 4];
printf "%-28s %6.1f KiB\n", $_, $bytes{$_} / 1024 for (sort { $bytes{$b} <=> $bytes{$a} } keys %bytes)[0 .. 4];
printf "%s: %s\n", $_, join ' ', map { my $m = $_; "$m=" . join ',', map { $hours{$_}{$m} // 0 } '00', '06', '12', '18' } 'GET', 'POST' for 'hours';
for my $status (sort keys %errors) {
    my %seen;
    my @distinct = grep { !$seen{$_}++ } @{ $errors{$status} };
    print "$status: ", scalar @{ $errors{$status} }, " of ", scalar @distinct, " paths\n";
}
my $text = join "\n", @lines[0 .. 2999];
(my $short = $text) =~ s{(\d+)\.(\d+)\.(\d+)\.(\d+)}{sprintf '%02x%02x%02x%02x', $1, $2, $3, $4}ge;
my $words = () = $short =~ /\b[a-z]+\b/g;
print length($short), " characters, $words words, ", ($short =~ tr/0-9//), " digits\n";
my @words = sort { lc $a cmp lc $b } map { scalar reverse } split m{[\s/"]+}, $text;
print "@words[0, 100, 1000, 10000]\n";
