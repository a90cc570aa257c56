# 53kafka_away.t: one of the two transports is away and the other goes on: while Kafka
# hangs, with more of its events waiting than a batch holds, commands are published
# within seconds; when it is back, everything is, in order.
use v5.36;
use lib 't/lib';
use Test::More;
use Aegis::Kafka;
use Aegis::Stack;
use Aegis::Test;

$ENV{AEGIS_T_KAFKA} = 'mock';
my $kafka = Aegis::Kafka->new;
my $stack = Aegis::Stack->own('kafka-away', env => { KAFKA_BROKERS => $kafka->brokers, ROLES => 'relay' });
my $pg = $stack->pg;
my $waiting = sub ($like) { $pg->one('SELECT count(*) FROM aegis.outbox WHERE published_at IS NULL AND subject LIKE ?', $like) };
my $row = sub ($subject) {
    my $id = uuid;
    $pg->do(q{INSERT INTO aegis.outbox (tenant, case_id, version, part, msg_id, subject, data) VALUES ('default', ?, 2, aegis.outbox_part(?), ?, ?, '{}')}, $id, $id, new_key('away'), $subject);
};

$row->($_) for 'evt.plan.waiting.v1', 'cmd.gate.eval';
ok(wait_for('both transports to carry', 30, sub { !$waiting->('%') }), 'both transports carry');
kill 'STOP', $kafka->{proc}{pid};
$row->('evt.plan.waiting.v1') for 1 .. 600;
ok(wait_for('the relay to notice', 30, sub { slurp($stack->run_dir . '/log/relay.log') =~ /publish-failed/ }), 'Kafka hangs, with 600 events for it');
for my $round (1 .. 3) {
    $row->('cmd.gate.eval');
    ok(wait_for('the command to be published', 20, sub { !$waiting->('cmd.%') }), "a command is published all the same ($round)");
}
cmp_ok($waiting->('evt.%'), '>', 0, 'events still wait');
is($stack->metric('relay', 'aegis_bus_up'), 0, 'aegis_bus_up says so');
kill 'CONT', $kafka->{proc}{pid};
ok(wait_for('everything to be published', 60, sub { !$waiting->('%') }), 'Kafka is back: everything is published');
ok(wait_for('the metric', 10, sub { $stack->metric('relay', 'aegis_bus_up') == 1 }), 'aegis_bus_up too');
$stack->finish;
done_testing;
