# Aegis::Case: what the suites do with a case through the gateway: create it,
# say events to it, bring it into a state by hand, wait for a state, read its
# timeline.
# Invariant: a case gets anywhere only by requests and by the workers' own
# doing; nothing here writes into the database.
package Aegis::Case;

use v5.36;
use Test::More ();
use Aegis::Test;

# args: http (an Aegis::Http), fields of the body. Dies unless it is created.
sub create ($class, $http, %body) {
    my $key = delete $body{key} // new_key('create');
    my $headers = delete $body{headers} // [];
    my $r = $http->write('POST', '/case/create', { title => 'a case', %body }, key => $key,
        headers => $headers);
    die 'create: ' . $r->brief . "\n" unless $r->status == 201;
    return bless { http => $http, id => $r->json->{case_id}, created => $r, key => $key }, $class;
}

sub id ($self) { return $self->{id} }

sub get ($self) { return $self->{http}->get("/case/$self->{id}") }

sub version ($self) { return $self->get->json->{version} }

# Say an event; returns the answer. more: fields of the body, and key, if_match,
# headers for the request.
sub say ($self, $event, %more) {
    my %req = map { exists $more{$_} ? ($_ => delete $more{$_}) : () } qw(key if_match headers no_key);
    return $self->{http}->write('PATCH', "/case/$self->{id}/transition", { event => $event, %more }, %req);
}

sub must ($self, $event, %more) {
    my $r = $self->say($event, %more);
    die "$event: " . $r->brief . "\n" unless $r->status == 200;
    return $r;
}

sub post ($self, $path, %body) {
    my %req = map { exists $body{$_} ? ($_ => delete $body{$_}) : () } qw(key headers no_key);
    return $self->{http}->write('POST', $path, { case_id => $self->{id}, %body }, %req);
}

# Wait until the case is in a state (or one of several); the case, or undef. A
# case that comes to rest elsewhere meanwhile is not waited for.
sub wait_state ($self, $states, $timeout = 30) {
    my %want = map { $_ => 1 } ref $states ? @$states : $states;
    my $rests;
    my $began = $self->version;
    my $case = wait_for("case $self->{id} to be " . join('/', sort keys %want), $timeout, sub {
        my $j = $self->get->json;
        return $j if $want{ $j->{status} // '' };
        $rests = $j if ($j->{status} // '') =~ /^(PARKED|CLOSED)$/
            && ($j->{status} eq 'CLOSED' || $j->{version} > $began);
        return $rests;
    });
    return $case unless $rests;
    Test::More::diag("case $self->{id} is $rests->{status}: $rests->{reason}");
    return undef;
}

# All rows of the timeline, page by page.
sub timeline ($self) {
    my ($cursor, @items) = ('');
    do {
        my $r = $self->{http}->get("/case/$self->{id}/timeline?limit=200" . ($cursor ? "&cursor=$cursor" : ''));
        die 'timeline: ' . $r->brief . "\n" unless $r->status == 200;
        push @items, @{ $r->json->{items} };
        $cursor = $r->json->{next};
    } while ($cursor);
    return @items;
}

# The body of POST /ingest/hint.
sub hint (%over) {
    return { dataset => 'logs', bucket => 'b', object_key => 'a/b.gz', t_from => '2026-11-01T00:00:00Z', t_to => '2026-11-01T00:01:00Z', %over };
}

# A plan that is complete and does nothing but echo. part => undef takes it out.
sub echo_plan (%over) {
    my %plan = (title => 'say it', kind => 'incident', risk_score => 0.1, env => 'staging',
        steps => [ { name => 'say', action => 'echo', params => { message => 'done' } } ],
        rollback => [ { name => 'unsay', action => 'echo', params => { message => 'undone' } } ],
        verify => [ { kind => 'exec' } ], %over);
    delete $plan{$_} for grep { !defined $plan{$_} } keys %plan;
    return \%plan;
}

sub plan ($self, %over) {
    my $r = $self->post('/plan/generate', plan => echo_plan(%over));
    die 'plan: ' . $r->brief . "\n" unless $r->status =~ /^20/;
    return $r->json;
}

# Bring a manual case forward to a state, as a person would.
sub drive ($self, $to, %opt) {
    if ($to eq 'PARKED') { $self->must('force_park', reason => 'parked by hand'); return $self }
    while (1) {
        my $at = $self->get->json->{status};
        return $self if $at eq $to;
        if ($at eq 'NEW') { $self->must('start_analysis') }
        elsif ($at eq 'ANALYZING' && $to eq 'PLANNING') { $self->must('analysis_done') }
        elsif ($at =~ /^(ANALYZING|PLANNING|PARKED)$/) {
            $self->plan(%{ $opt{plan} // {} });
            $self->must('plan_ready');
        }
        elsif ($at eq 'WAIT_GATE') {
            my $r = $self->post('/gate/eval');
            die 'gate: ' . $r->brief . "\n" unless $r->status =~ /^20/;
            $self->wait_state('EXECUTING') or die "the gate's fact did not arrive\n";
        }
        elsif ($at eq 'EXECUTING') {
            my $r = $self->post('/adapter/exec');
            die 'exec: ' . $r->brief . "\n" unless $r->status == 202;
            $self->{exec_id} = $r->json->{exec_id};
            $self->wait_state('VERIFYING') or die "the run's fact did not arrive\n";
        }
        elsif ($at eq 'VERIFYING') {
            my $r = $self->post('/verify/run');
            die 'verify: ' . $r->brief . "\n" unless $r->status =~ /^20/;
            $self->wait_state('CLOSED') or die "the verifier's fact did not arrive\n";
        }
        else { die "cannot go from $at to $to\n" }
    }
}

1;
