# A worker in another language, by the format that svc-cluster(7) documents, with nothing but what Perl itself has.
# GET /send/SLOT/TEXT sends, GET /received shows what has come: "SENDER KIND VALUE" a line.
use strict;
use warnings;
use IO::Select;
use IO::Socket;
use IO::Socket::UNIX;

my %fds;
@fds{ split /:/, $ENV{LISTEN_FDNAMES} } = 3 .. 2 + $ENV{LISTEN_FDS};
my $listener = IO::Socket::INET->new_from_fd( $fds{http}, "r+" ) or die "no listener: $!";
my $queue    = IO::Socket::UNIX->new_from_fd( $fds{bus},  "r+" ) or die "no queue: $!";
my ($folder) = $queue->hostpath =~ m{(.*)/} or die "the queue has no path";

my $incarnation = unpack "Q<", read_random(8);
my $number      = 0;
my @received;

sub read_random { open my $random, "<:raw", "/dev/urandom" or die; read $random, my $data, $_[0]; return $data }

sub send_text {
    my ( $slot, $text ) = @_;
    my $to = IO::Socket::UNIX->new( Type => SOCK_DGRAM, Peer => "$folder/$slot" ) or return "no worker $slot: $!";
    my $header = pack "a3 C V Q<", "svc", 1, $ENV{SVC_SLOT}, $incarnation;
    my $message = pack "V C C v Q<", length $text, 1, 0, 0, ++$number;    # kind 1, bytes; 0, a message
    defined $to->send( $header . $message . $text ) or return "not sent: $!";
    return "sent";
}

sub take_all {
    while ( defined $queue->recv( my $datagram, 65536 ) ) {
        my ( $magic, $version, $sender ) = unpack "a3 C V", $datagram;
        next if $magic ne "svc" || $version != 1;
        my $at = 16;
        while ( $at < length $datagram ) {
            my ( $length, $kind, $what ) = unpack "V C C", substr $datagram, $at, 6;
            push @received, join " ", $sender, $kind, substr $datagram, $at + 16, $length if $what == 0;
            $at += 16 + $length;
        }
    }
    return;
}

sub answer {
    my $client = $listener->accept or return;    # a sibling was faster
    $client->blocking(1);
    my ( undef, $path ) = split / /, scalar <$client>;
    while ( my $line = <$client> ) { last if $line =~ /^\r?\n$/ }
    take_all();
    my $body = $path =~ m{^/send/(\w+)/(.*)} ? send_text( $1, $2 ) : join "", map { "$_\n" } @received;
    print $client "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: ${\ length $body}\r\n\r\n$body";
    close $client;
    return;
}

$SIG{TERM} = sub { exit 0 };
my $select = IO::Select->new( $listener, $queue );
while (1) {
    $_ == $queue ? take_all() : answer() for $select->can_read;
}
