# 22illegal.t: suite 1 of document 000: an illegal transition answers 409 and
# changes nothing. Every (state, event) pair that has no row in the table is
# tried on a case that really stands there, and every guard that does not hold
# on a case that really lacks it (422, naming what is missing).
use v5.36;
use lib 't/lib';
use Test::More;
use Aegis::Case;
use Aegis::Def;
use Aegis::Pg;
use Aegis::Stack;
use Aegis::Test;

my $stack = Aegis::Stack->shared;
my $http = $stack->http;
my %legal;
$legal{ $_->[1] }{ $_->[2] } = $_ for def_rows('transitions', 'AEGIS_TRANSITION');
my @events = map { $_->[0] } def_rows('events', 'AEGIS_EVENT');

my %case;
for my $s (map { $_->[0] } def_rows('states', 'AEGIS_STATE')) {
    $case{$s} = Aegis::Case->create($http, mode => 'manual', title => "stands in $s")->drive($s);
}
$stack->quiet or BAIL_OUT('the stack does not come to rest');
my $tried = 0;

for my $state (sort keys %case) {
    my $c = $case{$state};
    subtest "in $state" => sub {
        my $version = $c->version;
        my @allowed = sort { $legal{$state}{$a}[0] <=> $legal{$state}{$b}[0] } keys %{ $legal{$state} // {} };
        my $before = $stack->pg->fingerprint(case_id => $c->id);
        my $conflicts = $stack->metric('gateway', 'conflict_total');
        for my $event (grep { !$legal{$state}{$_} } @events) {
            my $r = $c->say($event, reason => 'must not happen');
            $tried++;
            is($r->status, 409, "$event is refused with 409") or diag($r->brief);
            is($r->problem, 'illegal-transition', 'as an illegal transition');
            is_deeply({ map { $_ => $r->json->{$_} } qw(case_id current_status current_version allowed_events) },
                { case_id => $c->id, current_status => $state, current_version => $version, allowed_events => \@allowed },
                'it says where the case stands and what is allowed');
            is($r->header('etag'), "\"$version\"", 'and its version');
        }
        is_deeply([ Aegis::Pg::changed($before, $stack->pg->fingerprint(case_id => $c->id)) ], [], 'the case, its timeline and its messages are as they were');
        is($c->version, $version, 'GET says so too');
        cmp_ok($stack->metric('gateway', 'conflict_total'), '>', $conflicts, 'conflict_total counts them') if grep { !$legal{$state}{$_} } @events;
    };
}
is($tried, @events * keys(%case) - def_rows('transitions', 'AEGIS_TRANSITION'), 'every illegal pair was tried');

subtest 'a guard that does not hold' => sub {
    my $c = Aegis::Case->create($http, mode => 'manual')->drive('PLANNING');
    my $refuse = sub ($event, $what, @facts) {
        my $before = $stack->pg->fingerprint(case_id => $c->id);
        my $r = $c->say($event);
        is($r->status, 422, "$what: $event is refused with 422") or diag($r->brief);
        is($r->problem, 'guard-failed', 'as a guard');
        is_deeply([ map { $_->{fact} } @{ $r->json->{missing} } ], \@facts, "and names @facts");
        ok(!(grep { !length $_->{detail} } @{ $r->json->{missing} }), 'in words');
        is_deeply($stack->pg->fingerprint(case_id => $c->id), $before, 'nothing of the case changed');
    };
    $refuse->('plan_ready', 'no plan at all', 'plan_complete');
    for my $part (qw(steps rollback verify)) {
        my $p = $c->plan($part => undef);
        is_deeply($p->{missing}, [$part], "a plan without $part is stored as incomplete");
        $stack->quiet;
        $refuse->('plan_ready', "a plan without $part", 'plan_complete');
    }
    my $other = Aegis::Case->create($http, mode => 'manual')->drive('ANALYZING');
    my $foreign = $other->plan->{plan_id};
    my $r = $c->say('plan_ready', meta => { plan_id => $foreign });
    is($r->problem, 'guard-failed', 'another case\'s plan does not count');
    $c->plan;
    $c->must('plan_ready');
    $stack->quiet;
    $refuse->('gate_approved', 'no approval', 'gate_approved', 'window_open');
    $c->post('/gate/eval');
    $c->wait_state('EXECUTING');
    $c->post('/adapter/exec');
    $c->wait_state('VERIFYING');
    $stack->quiet;
    $refuse->('verify_pass', 'no checkpoint', 'checkpoint_passed');
};

$stack->finish;
done_testing;
