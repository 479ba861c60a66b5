# Sockets of an interpreter: a pair and a child, a server with a name.
use strict;
use warnings;
use Socket;
use IO::Handle;

socketpair(my $mine, my $its, AF_UNIX, SOCK_STREAM, PF_UNSPEC) or die "socketpair: $!";
my $child = fork;
if (!$child) {
    close $mine;
    while (my $line = <$its>) { print $its scalar reverse($line), "\n"; $its->flush }
    exit 3;
}
close $its;
$mine->autoflush(1);
for my $word (qw(one two three)) {
    print $mine "$word\n";
    my $empty = <$mine>;
    my $answer = <$mine>;
    print $answer;
}
shutdown $mine, 1;
waitpid $child, 0;
print $? >> 8, "\n";

my $name = "perl.socket";
socket(my $server, AF_UNIX, SOCK_STREAM, 0) or die "socket: $!";
bind($server, sockaddr_un($name)) or die "bind: $!";
listen($server, 2) or die "listen: $!";
print -S $name ? "a socket\n" : "none\n";
if (!fork) {
    socket(my $client, AF_UNIX, SOCK_STREAM, 0);
    connect($client, sockaddr_un($name)) or die "connect: $!";
    syswrite $client, "hello from a child\n";
    exit 0;
}
accept(my $end, $server) or die "accept: $!";
print while <$end>;
wait;
print "$?\n";
unlink $name;
print -e $name ? "still there\n" : "gone\n";
