# 50crowd_nats.t: 800 cases at once to CLOSED with JetStream alone, with kill -9
# of one worker of each role and of an nginx worker on the way; afterwards every
# invariant of t/sql/invariants returns no row.
use v5.36;
use lib 't/lib';
use Test::More;
use Aegis::Crowd;
use Aegis::Stack;
use Aegis::Test;

my $stack = Aegis::Stack->own('nats');
note('brokers: cmd.* and evt.* over NATS JetStream');
Aegis::Crowd::run_crowd(stack => $stack, cases => 800, ledger => sub ($inv) { $inv->bus_nats($stack->nats) });
$stack->finish(allow => [qr/exited on signal 9/]);
done_testing;
