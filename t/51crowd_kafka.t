# 51crowd_kafka.t: the crowd of 50crowd_nats.t with evt.* over Kafka and cmd.* over
# JetStream. A real broker (KRaft) where maven can resolve one, else librdkafka's
# mock cluster as its own process; the output says which one it was.
use v5.36;
use lib 't/lib';
use Test::More;
use POSIX ();
use Aegis::Crowd;
use Aegis::Kafka;
use Aegis::Stack;
use Aegis::Test;

skip_unless('kcat');
my $kafka = Aegis::Kafka->new;
diag('brokers: cmd.* over NATS JetStream, evt.* over ' . $kafka->kind);
my $stack = Aegis::Stack->own('kafka-stack', env => { KAFKA_BROKERS => $kafka->brokers });
is($stack->e('KAFKA_BROKERS'), $kafka->brokers, 'the installation knows its brokers');

Aegis::Crowd::run_crowd(stack => $stack, cases => 200, timeout => 180, ledger => sub ($inv) {
    # commands from JetStream, events from Kafka
    $inv->bus(map { ['AEGIS_CMD', $_->{seq}, $_->{body}] } $stack->nats->messages('AEGIS_CMD'));
    $inv->bus_kafka($kafka->dump);
    my $rows = $stack->pg->rows('SELECT log, count(*) AS n FROM t_bus GROUP BY 1');
    cmp_ok(scalar(grep { $_->{log} =~ m{^evt\.} } @$rows), '>', 20, 'events lie in the partitions of their topics');
    my $split = $stack->pg->one(q{SELECT count(*) FROM (SELECT case_id, subject FROM t_bus WHERE subject LIKE 'evt.%'
        GROUP BY 1, 2 HAVING count(DISTINCT log) > 1) x});
    is($split, 0, 'all of a case and subject are in one partition');
});
if (!$kafka->is_mock) {
    my $evt = eval { $stack->nats->stream('AEGIS_FACT')->{state}{messages} } // 0;
    is($evt, 0, 'JetStream carries no event');
}

$stack->finish(allow => [qr/exited on signal 9/]);
done_testing;
