# 26scout.t: two servers in aegis_database, and the one in use falls silent. Silence
# alone ends nothing: the gateway asks the other one, which refuses like a standby;
# once it says that it was promoted, what was sent to the silent one is answered by
# it, long before its time is over, and the former one is used by nobody.
# The second server is a relay of this test to the same database that counts, and
# says the next timeline.
use v5.36;
use lib 't/lib';
use Test::More;
use IO::Select;
use IO::Socket::INET;
use POSIX ();
use Aegis::Proxy;
use Aegis::Stack;
use Aegis::Test;

my $stack = Aegis::Stack->shared;
my $pg = $stack->pg;
my $port = $pg->{port};
my ($system, $timeline) = $pg->dbh->selectrow_array(q{SELECT system_identifier, substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)
    FROM pg_control_system()});
my $state = scratch . '/relay.state';         # standby, promoted
my $seen = scratch . '/relay.seen';           # a byte for each connection
spew($state, 'standby');
spew($seen, '');

# What comes from the database is said to be of the next timeline; as a standby it
# lets nobody in.
sub relay ($listen) {
    my ($from, $to) = ("$system $timeline", sprintf '%s %08X', $system, 1 + hex $timeline);
    my ($all, %peer, %up) = (IO::Select->new($listen));
    while (1) {
        for my $s ($all->can_read) {
            if ($s == $listen) {
                my $c = $listen->accept or next;
                open my $f, '>>', $seen or die $!;
                syswrite $f, '.';
                next if slurp($state) eq 'standby';
                my $db = IO::Socket::INET->new(PeerHost => '127.0.0.1', PeerPort => $port) or next;
                @peer{ $c, $db } = ($db, $c);
                $up{$db} = 1;
                $all->add($c, $db);
                next;
            }
            my $other = $peer{$s} or next;
            my $n = sysread $s, my $data, 65536;
            $data =~ s/\Q$from\E/$to/ if $n && $up{$s};
            next if $n && syswrite($other, $data) == $n;
            delete @peer{ $s, $other };
            $all->remove($s, $other);
            close $_ for $s, $other;
        }
    }
}

my $listen = IO::Socket::INET->new(Listen => 64, LocalAddr => '127.0.0.1', LocalPort => free_port, ReuseAddr => 1) or die "listen: $!";
my $second = $listen->sockport;
my $pid = fork // die "fork: $!";
if (!$pid) {
    $SIG{PIPE} = 'IGNORE';
    eval { relay($listen) };
    POSIX::_exit(1);
}
Aegis::Test::at_end(sub { kill 'KILL', $pid; waitpid $pid, 0 });
close $listen;

my $first = Aegis::Proxy->new('first', $port);
my $undo = $stack->nginx_edit(sub ($conf) {
    $conf =~ s/^ *aegis_(?:connections|queue|timeout).*\n//mg;
    $conf =~ s/^worker_processes.*/worker_processes 1;/m or die;
    $conf =~ s/(aegis_database\s+")([^"]*)"/my ($a, $b) = ($1, $2); $b =~ s{\bhost(?:addr)?=\S+}{hostaddr=127.0.0.1,127.0.0.1} or die; $b =~ s{\bport=\d+}{'port=' . $first->port . ",$second"}e; qq{$a$b sslmode=disable"}/e or die;
    $conf =~ s/(http \{\n)/$1    aegis_timeout 60s;\n/ or die;
    return $conf;
});
Aegis::Test::at_end($undo);
my $http = $stack->http;

sub asked () { return -s $seen }
sub create ($key, $timeout = 60) { return $http->with(timeout => $timeout)->write('POST', '/case/create', { title => 'scout', mode => 'manual' }, key => $key) }

ok(wait_for('a write', 30, sub { my $r = eval { create(new_key()) }; $r && $r->status == 201 }), 'the first server is used');
my $before = asked();

my $key = new_key('scout');
$first->say('blackhole');
my $client = fork // die "fork: $!";
if (!$client) {
    my $r = eval { create($key, 90) };
    spew(scratch . '/answer.new', $r ? $r->status . "\n" . $r->body : "none\n$@");
    rename scratch . '/answer.new', scratch . '/answer';
    POSIX::_exit(0);
}
ok(wait_for('the other one to be asked', 30, sub { asked() >= $before + 2 }), 'while it is silent the other one is asked, again and again');
ok(!-e scratch . '/answer', 'and refuses: the request goes on waiting');
is($pg->one('SELECT count(*) FROM aegis.case_timeline WHERE idem_key = ?', $key), 0, 'nothing has happened');

spew("$state.new", 'promoted');
rename "$state.new", $state;
ok(wait_for('the answer', 30, sub { -e scratch . '/answer' }), 'the other one is promoted: the request is answered, the first one still silent');
waitpid $client, 0;
my ($status, $body) = split /\n/, slurp(scratch . '/answer'), 2;
is($status, 201, 'as carried out') or diag($body);
is($pg->one('SELECT count(*) FROM aegis.case_timeline WHERE idem_key = ?', $key), 1, 'once');
my $again = create($key);
is_deeply([$again->status, $again->body, $again->header('idempotent-replayed')], [201, $body, 'true'], 'its key says the same again');

$first->say('pass');
ok((grep { create(new_key())->status == 201 } 1 .. 20) == 20, 'the former one is heard again: writes go on');
$stack->nginx_reload;
$http = $stack->http;
ok(wait_for('a write', 30, sub { my $r = eval { create(new_key()) }; $r && $r->status == 201 }), 'and after a reload, which begins with the former one');
like(slurp($stack->run_dir . '/log/nginx-error.log'), qr/another server was promoted/, 'the log says why it was left');
done_testing;
