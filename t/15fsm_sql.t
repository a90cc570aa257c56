# 15fsm_sql.t: the state machine is one machine. What the pure core decides
# about every (state, event, facts) is what aegis.fsm_decide() decides, and what
# the statement that commits transitions does to rows in exactly that
# situation: the effect when it is legal, nothing at all when it is not.
use v5.36;
use lib 't/lib';
use Test::More;
use Aegis::Def;
use Aegis::Pg;
use Aegis::Sql;
use Aegis::Test;

my $tool = build_dir . '/t/tools/fsm_matrix';
-x $tool or BAIL_OUT("$tool is missing: run make tools");
my @cols = qw(state event facts code rule to missing command);
my @matrix = map { my %d; @d{@cols} = split /\t/, $_, -1; \%d } split /\n/, run_ok([$tool], env => {san_env});

my @states = map { $_->[0] } def_rows('states', 'AEGIS_STATE');
my @events = map { $_->[0] } def_rows('events', 'AEGIS_EVENT');
my %bit = map { $_->[0] => 1 << $_->[1] } def_rows('facts', 'AEGIS_FACT');
is(scalar @matrix, @states * @events * 2 ** keys %bit,
    'the core answers for every state, event and combination of facts');
is(scalar(grep { $_->{code} eq 'ok' && $_->{facts} == 0 } @matrix)
    + scalar(grep { $_->{code} eq 'guard-failed' && $_->{facts} == 0 } @matrix),
    scalar(def_rows('transitions', 'AEGIS_TRANSITION')),
    'the core knows exactly the rows of transitions.def');

my $pg = Aegis::Pg->new;
$pg->load_schema;
my $dbh = $pg->dbh;

# --- the pure twin
{
    my @differ;
    my $sth = $dbh->prepare('SELECT * FROM aegis.fsm_decide(?, ?, ?)');
    for my $d (@matrix) {
        $sth->execute(@$d{qw(state event facts)});
        my $s = $sth->fetchall_arrayref({})->[0];
        $s = {} unless defined $s->{rule};
        my $code = !defined $s->{rule} ? 'illegal-transition' : $s->{missing} ? 'guard-failed' : 'ok';
        my $says = join '|', $code, $s->{rule} // 0, $s->{to_status} // '', $s->{missing} // 0,
            $s->{command} // '';
        my $core = join '|', @$d{qw(code rule to missing command)};
        push @differ, "$d->{state} $d->{event} $d->{facts}: SQL $says, core $core" if $says ne $core;
    }
    is_deeply(\@differ, [], 'aegis.fsm_decide() answers as the core does, everywhere');
}

# --- the statement, on rows. A window is the window of an approval, so a case
# cannot have window_open without gate_approved; these lines do not exist as rows.
my @real = grep { !($_->{facts} & $bit{window_open} && !($_->{facts} & $bit{gate_approved})) } @matrix;
my %mode = (0 => 'auto', 1 => 'manual');
my $n = 0;
for my $d (@real) {
    $d->{case_id} = uuid;
    $d->{plan_id} = uuid;
    $d->{mode} = $mode{ $n++ % 2 };
    $d->{version} = 3;
}
$dbh->begin_work;
my %ins = (
    ops_case => $dbh->prepare(q{INSERT INTO aegis.ops_case (tenant, case_id, status, version, title, mode, plan_id)
        VALUES ('acme', ?, ?, 3, 'x', ?, ?)}),
    plan_proposed => $dbh->prepare(q{INSERT INTO aegis.plan_proposed (tenant, case_id, revision, plan_id,
        for_version, hash, complete, plan, created_by) VALUES ('acme', ?, 1, ?, 2, 'h', ?, '{}', 't')}),
    plan_approved => $dbh->prepare(q{INSERT INTO aegis.plan_approved (tenant, case_id, plan_id, decision_id,
        plan_hash, not_before, not_after) VALUES ('acme', ?, ?, gen_random_uuid(), 'h',
        now() + ?::interval, now() + ?::interval)}),
    checkpoint => $dbh->prepare(q{INSERT INTO aegis.verify_checkpoint (tenant, case_id, checkpoint_id, plan_id,
        for_version, passed, checks, reason, created_by)
        VALUES ('acme', ?, gen_random_uuid(), ?, ?, ?, '[]', '', 't')}),
);
for my $d (@real) {
    my ($id, $plan, $f) = @$d{qw(case_id plan_id facts)};
    $ins{ops_case}->execute($id, $d->{state}, $d->{mode}, $plan);
    # a fact that does not hold has a row that nearly makes it hold
    $ins{plan_proposed}->execute($id, $plan, $f & $bit{plan_complete} ? 't' : 'f');
    $ins{plan_approved}->execute($id, uuid, '-1 hour', '1 hour');      # another plan's
    if ($f & $bit{gate_approved}) {
        my @window = $f & $bit{window_open} ? ('-1 hour', '1 hour')
            : $n++ % 2 ? ('-2 hours', '-1 hour') : ('1 hour', '2 hours');
        $ins{plan_approved}->execute($id, $plan, @window);
    }
    my @check = $f & $bit{checkpoint_passed} ? ([3, 't'])
        : ([2, 't'], [3, 'f']);                          # an older stay's; a failed one
    $ins{checkpoint}->execute($id, $plan, @$_) for @check;
}
$dbh->commit;

my (@differ, @leak, %count);
my %before = map { $_->{case_id} => $_->{h} } @{ $pg->rows(
    'SELECT case_id, hashtextextended(c::text, 0) AS h FROM aegis.ops_case c') };
while (my @group = splice @real, 0, 50) {
    my @r = Aegis::Sql::call($dbh, 'CASE_TRANSITION',
        map { { case_id => $_->{case_id}, event => $_->{event}, reason => 'r' } } @group);
    for my $d (@group) {
        my $r = shift @r;
        my $what = "$d->{state} $d->{event} facts=$d->{facts}";
        push @differ, "$what: $r->{code}, core $d->{code}" if $r->{code} ne $d->{code};
        push @differ, "$what: rule " . ($r->{extra} // '') . ", core $d->{rule}"
            if ($r->{extra} // 0) != $d->{rule};
        $count{ $r->{code} }++;
        my $body = json_decode($r->{body});
        my $row = $pg->row('SELECT c.*, hashtextextended(c::text, 0) AS h FROM aegis.ops_case c
            WHERE case_id = ?', $d->{case_id});
        my $tl = $pg->rows('SELECT * FROM aegis.case_timeline WHERE case_id = ?', $d->{case_id});
        my @ob = sort map { $_->{subject} } @{ $pg->rows(
            'SELECT subject FROM aegis.outbox WHERE case_id = ?', $d->{case_id}) };
        if ($d->{code} eq 'ok') {
            my @want = ('evt.case.transition.v1',
                $d->{command} && $d->{mode} eq 'auto' ? $d->{command} : ());
            push @differ, "$what: in state $row->{status} version $row->{version}, core $d->{to}"
                if $row->{status} ne $d->{to} || $row->{version} != 4 || $r->{version} != 4
                || $body->{status} ne $d->{to} || $body->{version} != 4 || $r->{status} != 200;
            push @differ, "$what: outbox @ob, want @want" if "@ob" ne join ' ', sort @want;
            push @differ, "$what: timeline " . json_encode($tl)
                if @$tl != 1 || $tl->[0]{rule} != $d->{rule} || $tl->[0]{from_status} ne $d->{state}
                || $tl->[0]{to_status} ne $d->{to} || $tl->[0]{event} ne $d->{event};
        }
        else {
            push @leak, "$what ($d->{code})" if @$tl || @ob || $row->{h} ne $before{ $d->{case_id} };
            my @missing = sort map { $_->{fact} } @{ $body->{missing} // [] };
            my @core = sort grep { $d->{missing} & $bit{$_} } keys %bit;
            push @differ, "$what: missing @missing, core @core" if "@missing" ne "@core";
            my $want = $d->{code} eq 'guard-failed' ? 422 : 409;
            push @differ, "$what: status $r->{status} $body->{type}" if $r->{status} != $want
                || $body->{status} != $want || $body->{type} ne "urn:aegis:problem:$d->{code}"
                || $body->{current_version} != 3 || $body->{current_status} ne $d->{state};
        }
    }
}
is_deeply(\@differ, [], 'aegis.case_transition() does on rows what the core decides, everywhere');
is_deeply(\@leak, [], 'a refused transition leaves the case, the timeline and the outbox as they were');
is($count{ok} + $count{'guard-failed'} + $count{'illegal-transition'}, $n = @matrix * 3 / 4,
    'every situation that rows can be in was tried');
cmp_ok($count{$_} // 0, '>', 0, "some situations ended $_") for qw(ok guard-failed illegal-transition);

done_testing;
