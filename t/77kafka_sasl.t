# 77kafka_sasl.t: a real Kafka broker that takes clients by TLS and SCRAM-SHA-512 alone:
# cases are driven to their end with evt.* over it; a password or a CA that is not the
# right one is said, nothing is lost meanwhile, and once it is right everything is
# published. Only `make kafka-sasl-test` runs it: it needs Java, maven and kcat.
use v5.36;
use lib 't/lib';
use Test::More;
use Aegis::Case;
use Aegis::Invariants;
use Aegis::Kafka;
use Aegis::Stack;
use Aegis::Test;
use Aegis::Tls;

plan skip_all => 'a minute: make kafka-sasl-test' unless $ENV{AEGIS_T_KAFKA_SASL};
skip_unless(qw(java kcat openssl));

my $dir = scratch('kafka-sasl');
chmod 0755, $dir;
my $tls = Aegis::Tls->new("$dir/tls");
$tls->cert('kafka', san => 'IP:127.0.0.1');
my $other = Aegis::Tls->new("$dir/other", 'Another CA');
my $credentials = "$dir/credentials";
sub password ($text) { spew($credentials, "aegis:$text\n"); chmod 0644, $credentials }
password('a-secret-of-mine');

my $kafka = Aegis::Kafka->new(sasl => ["$dir/tls", 'aegis', 'a-secret-of-mine']);
diag($kafka->kind);
my $r = run(['kcat', '-L', '-m', '3', '-b', $kafka->brokers], timeout => 20);
isnt($r->{rc}, 0, 'the broker takes nobody without TLS');

my %env = (AEGIS_BUS_KAFKA_PROTOCOL => 'sasl_ssl', AEGIS_BUS_KAFKA_CA_FILE => $tls->ca, AEGIS_BUS_KAFKA_CREDENTIALS_FILE => $credentials);
my $stack = Aegis::Stack->own('kafka-sasl', env => { KAFKA_BROKERS => $kafka->brokers, %env });
my ($pg, $http) = ($stack->pg, $stack->http);

sub auto ($from, $n) {
    my @a = $http->crowd([ map { { method => 'POST', path => '/case/create', headers => ['Idempotency-Key', "sasl-$_"],
        json => { title => "case $_", labels => { service => "s$_", env => 'staging' } } } } $from .. $from + $n - 1 ], connections => 10);
    is(scalar(grep { $_->status == 201 } @a), $n, "$n cases are created");
}
my $closed = sub ($n) { wait_for("$n cases to be closed", 120, sub { $pg->one(q{SELECT count(*) FROM aegis.ops_case WHERE status = 'CLOSED'}) == $n }) };

auto(1, 40);
ok($closed->(40), 'they are driven to CLOSED by events over SASL_SSL');
ok($stack->quiet(60), 'everything is published and consumed');

for my $wrong (['password', sub { password('not-mine') }, sub { password('a-secret-of-mine') }, qr/transport-away.*authentication/i],
    ['CA', sub { spew_into($tls->ca, slurp($other->ca)) }, undef, qr/transport-away.*(?:certificate|SSL)/i])
{
    my ($what, $do, $undo, $says) = @$wrong;
    my $ca = slurp($tls->ca);
    $do->();
    my $log = $stack->run_dir . '/log/relay.log';
    my $at = length slurp($log);
    my $old = $stack->kill_worker('relay');
    ok($stack->wait_worker('relay', $old), "the relay starts with another $what");
    auto($what eq 'CA' ? 100 : 50, 5);
    ok(wait_for('it to be said', 60, sub { substr(slurp($log), $at) =~ $says }), 'its log says what is wrong');
    unlike(substr(slurp($log), $at), qr/a-secret-of-mine|not-mine/, 'without the password');
    ok(wait_for('the metric', 30, sub { ($stack->metric('relay', 'aegis_bus_up') // 1) == 0 }), 'aegis_bus_up is 0');
    cmp_ok($pg->one(q{SELECT count(*) FROM aegis.outbox WHERE published_at IS NULL}), '>', 0, 'events wait');
    $undo ? $undo->() : spew_into($tls->ca, $ca);
    $old = $stack->kill_worker('relay');
    ok($stack->wait_worker('relay', $old), 'it is put right');
    ok($closed->($what eq 'CA' ? 50 : 45), 'and the cases come to their end');
}

ok($stack->quiet(60), 'everything is published and consumed');
my $inv = Aegis::Invariants->new($pg->dbh);
$inv->bus(map { ['AEGIS_CMD', $_->{seq}, $_->{body}] } $stack->nats->messages('AEGIS_CMD'));
$inv->bus_kafka($kafka->dump);
cmp_ok($inv->{n}{t_bus}, '>', 500, "the brokers hold $inv->{n}{t_bus} messages");
$inv->check;
$stack->finish(allow => [qr/exited on signal 9/]);
done_testing;
