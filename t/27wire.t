# 27wire.t: thousands of requests that nobody means, over plain TCP, many at once:
# whatever comes in, each is answered with a documented status and JSON or a problem
# document, in time, once; nginx's workers live on, the log has no alert and each
# line of the access log is JSON. FUZZ_S=<seconds> goes on for that long with a seed
# of its own (make fuzz-http); AEGIS_WIRE=<seed>:<number> makes one of them again.
use v5.36;
use lib 't/lib';
use IO::Socket::INET;
use Test::More;
use Time::HiRes qw(time);
use Aegis::Case;
use Aegis::Invariants;
use Aegis::Stack;
use Aegis::Test;
use Aegis::Wire;

my $long = $ENV{FUZZ_S} // 0;
my ($seed, $only) = split /:/, $ENV{AEGIS_WIRE} // ($long ? time & 0xffffff : 20261125);
my $N = defined $only ? 1 : 2500;
my $CONNECTIONS = 16;
my $DEADLINE = 20;

# its own installation: the port has no TLS, and half a request is soon given up
my $stack = Aegis::Stack->own('wire', env => { ROLES => 'relay' });
my $port = free_port;
$stack->nginx_edit(sub ($conf) {
    $conf =~ s/(listen 127\.0\.0\.1:\d+ ssl;)/$1\n        listen 127.0.0.1:$port;/ or die 'no listen';
    $conf =~ s{(include \S+aegis_gateway\.conf;)}{include $stack->{rundir}/nginx/wire.conf;};
    my $file = $1 =~ s/include (\S+);/$1/r;
    spew("$stack->{rundir}/nginx/wire.conf", slurp($file) =~ s/^(client_(?:body|header)_timeout).*/$1 4s;/gmr);
    return $conf;
});
my $http = $stack->http;
my @cases = map { Aegis::Case->create($http, mode => 'manual', title => "case $_") } 1 .. 20;
$_->drive('ANALYZING') for @cases[0 .. 3];
my $wire = Aegis::Wire->new(seed => $seed, token => $stack->token, other => $stack->token('other'), case => [ map { $_->id } @cases ]);
my %before = map { $_->{pid} => 1 } $stack->nginx_workers;
my $probe = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

my ($n, $done, $until) = (0, 0, $long ? time + $long : 0);
my (%conn, %seen, %framing, @wrong);

sub next_request () {
    return 0 if @wrong >= 20 || (defined $only ? $n > 0 : $until ? time >= $until : $n >= $N);
    my $q = $wire->request($only // $n);
    $n++;
    my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port, Blocking => 0) // die "connect: $@";
    # one in twenty goes away in the middle of things
    my $leave = !defined $only && $n % 20 == 0;
    my $probed = !$leave && $n % 3 != 0;
    $conn{ fileno $s } = { q => $q, s => $s, out => $q->{bytes} . ($probed ? $probe : ''), sent => 0, in => '', began => time, probed => $probed,
        leave => $leave ? int rand length $q->{bytes} : undef };
    return 1;
}

sub done ($fd, $why) {
    my $c = delete $conn{$fd};
    $done++;
    $framing{ $c->{q}{framing} }++;
    return if defined $c->{leave};
    # a connection that is kept is closed by us, unless the probe asked for its end;
    # what was changed may have swallowed the probe
    $why = '' if $why eq 'late' && length $c->{in} && !($c->{probed} && $c->{q}{whole});
    my $wrong = $why eq 'late' ? "no end after $DEADLINE s" : $wire->judge($c->{q}, $c->{in}, $c->{probed}, \%seen);
    push @wrong, { wrong => $wrong, q => $c->{q}, in => $c->{in} } if $wrong ne '';
}

sub turn () {
    my ($rd, $wr) = ('', '');
    for my $fd (keys %conn) {
        vec($rd, $fd, 1) = 1;
        vec($wr, $fd, 1) = 1 if $conn{$fd}{sent} < length $conn{$fd}{out};
    }
    select $rd, $wr, undef, 0.2;
    for my $fd (keys %conn) {
        my $c = $conn{$fd};
        if (vec $wr, $fd, 1) {
            my $end = $c->{leave} // length $c->{out};
            my $sent = $c->{sent} < $end ? syswrite $c->{s}, $c->{out}, $end - $c->{sent}, $c->{sent} : 0;
            $c->{sent} = defined $sent ? $c->{sent} + $sent : $!{EAGAIN} ? $c->{sent} : length $c->{out};
            if (defined $c->{leave} && $c->{sent} >= $c->{leave}) { done($fd, ''); next }
        }
        if (vec $rd, $fd, 1) {
            my $got = sysread $c->{s}, $c->{in}, 65536, length $c->{in};
            if (defined $got ? $got == 0 : !$!{EAGAIN}) { done($fd, ''); next }
            $c->{heard} = time if $got;
        }
        my $patience = !length $c->{in} || ($c->{probed} && $c->{q}{whole}) ? $DEADLINE * (is_san ? 3 : 1) : $c->{probed} ? 3 : 0.5;
        done($fd, 'late') if time - ($c->{heard} // $c->{began}) > $patience;
    }
}

while (1) {
    while (keys %conn < $CONNECTIONS && next_request) { }
    last if !%conn;
    turn;
}

ok($done >= (defined $only ? 1 : $long ? 10 * $long : $N), "$done requests were made (seed $seed)");
is(scalar @wrong, 0, 'each was answered as it has to be');
for my $w (@wrong) {
    diag("AEGIS_WIRE=$seed:$w->{q}{n} ($w->{q}{framing}): $w->{wrong}");
    diag('  ', map { s/([^ -~])/sprintf '\\x%02x', ord $1/ger } substr($w->{q}{bytes}, 0, 600));
}
if (!defined $only) {
    note(join ', ', map { "$_: $seen{$_}" } sort keys %seen);
    note(join ', ', map { "$_: $framing{$_}" } sort keys %framing);
    # a grammar that reaches nothing shows nothing
    ok($seen{$_}, "some were $_") for 100, 200, 201, 304, 400, 401, 403, 404, 405, 406, 409, 412, 413, 414, 415, 422, 431, 501;
}

is_deeply({ map { $_->{pid} => 1 } $stack->nginx_workers }, \%before, 'the workers are those that began');
is($http->get('/readyz')->status, 200, 'and serve');
$stack->nginx_reload;                   # old workers write out their logs before they end
# nginx writes bytes that are not UTF-8 as they came: they are read as Latin-1 here
my @log = map { s/([\x80-\xff])/sprintf '\\u%04x', ord $1/ger } split /\n/, slurp("$stack->{rundir}/log/nginx-access.log");
is_deeply([ grep { !eval { json_decode($_) } } @log ], [], 'each of ' . @log . ' lines of the access log is one JSON document');
my $inv = Aegis::Invariants->new($stack->pg->connect);
$stack->quiet;
$inv->check(only => [qw(I01 I02 I03)]);
$stack->finish(no_openapi => 1, allow => [qr/client sent|client prematurely closed/]);
done_testing;
