# Aegis::BenchPages: list and timeline pages on ten million timeline rows: each
# filter, first pages and pages far behind, over HTTP, and what the planner makes
# of them.
# Invariant: a page counts as keyset only when the plan of its query enters the
# table through an index condition, scans no table, and its function knows no OFFSET.
package Aegis::BenchPages;

use v5.36;
use Aegis::Http;
use Aegis::Test;

my $DEEP = 40;        # pages that are followed to get a cursor far behind

# name => query string, or a timeline's case number. {since} and {until} are in the
# middle of all that there is.
my @lists = (
    ['no filter', ''], ['status CLOSED', 'status=CLOSED'], ['status PARKED', 'status=PARKED'], ['status EXECUTING', 'status=EXECUTING'],
    ['status with no case', 'status=VERIFYING'],
    ['tag third', 'tag=third'], ['tag rare', 'tag=rare'], ['tag with no case', 'tag=nobody'],
    ['until the middle', 'until={until}'], ['an hour', 'since={since}&until={until}'],
    ['status CLOSED, tag rare', 'status=CLOSED&tag=rare'], ['status PARKED, tag third', 'status=PARKED&tag=third'], ['status PARKED, tag rare', 'status=PARKED&tag=rare'],
    ['status with no case, tag third', 'status=VERIFYING&tag=third'],
    ['status, tag, an hour', 'status=PARKED&tag=third&since={since}&until={until}'],
    ['status CLOSED until the middle, tag rare', 'status=CLOSED&tag=rare&until={until}'],
);

sub _time ($epoch) { return POSIX::strftime('%Y-%m-%dT%H:%M:%SZ', gmtime $epoch) }

# The cursors of the pages behind the first, up to DEEP of them; the last is kept.
sub _walk ($http, $path) {
    my ($cursor, $n);
    for (1 .. $DEEP) {
        my $r = $http->get($path . ($path =~ /\?/ ? '&' : '?') . 'limit=200' . ($cursor ? "&cursor=$cursor" : ''));
        die "$path: " . $r->brief if $r->status != 200;
        my $next = $r->json->{next} // last;
        $cursor = $next;
        $n++;
    }
    return $cursor;
}

sub measure ($bench) {
    my $rows = $ENV{ROWS} || 10_000_000;
    my $cases = $rows / 25;
    die "ROWS is 2000 or more\n" if $rows !~ /^\d+$/ || $rows < 2000;
    print "filling in $rows timeline rows\n";
    $bench->_psql(root . '/t/bench/sql/pages.sql', '-v', "rows=$rows");
    my $middle = 1_767_225_600 + int($cases / 2) * 20;
    my %at = (since => _time($middle - 3600), until => _time($middle));
    my @tokens = split /\n/, slurp($bench->{tokens});
    my $http = sub ($i) { Aegis::Http->new(url => "http://127.0.0.1:$bench->{plain}", token => $tokens[$i]) };

    my @sets;
    for (@lists) {
        my ($name, $query) = @$_;
        $query =~ s/\{(\w+)\}/$at{$1}/g;
        push @sets, ["list, $name", map { "$_ /case?limit=50" . ($query ? "&$query" : '') } 0 .. 7];
        my @deep = map { my $c = _walk($http->($_), "/case" . ($query ? "?$query" : '')); defined $c ? "$_ /case?" . ($query ? "$query&" : '') . "limit=200&cursor=$c" : () } 0, 3;
        push @sets, ["list, $name, far behind", @deep] if @deep;
    }
    my $id = sub ($n) { sprintf '01930000-0000-7000-8000-%012x', $n };
    push @sets, ['timelines', map { my $n = 8 + int rand($cases - 8); $n % 8 . ' /case/' . $id->($n) . '/timeline' } 1 .. 20_000 ];
    push @sets, ['long timelines', map { "$_ /case/" . $id->($_) . '/timeline?limit=200' } 0 .. 7];
    my @deep = map { my $c = _walk($http->($_), '/case/' . $id->($_) . '/timeline'); defined $c ? "$_ /case/" . $id->($_) . "/timeline?limit=200&cursor=$c" : () } 0 .. 3;
    push @sets, ['long timelines, far behind', @deep];

    my ($worst, @out) = ([0, '']);
    for my $set (@sets) {
        my ($name, @paths) = @$set;
        spew("$bench->{dir}/paths", join '', map { "$_\n" } @paths);
        my $j = $bench->load(port => $bench->{plain}, work => 'paths', conns => 4, warm => 0.3, phases => "0:$bench->{secs}", args => [ '--paths', "$bench->{dir}/paths" ]);
        my $p = $j->{phases}[0];
        my $us = $j->{cpu}{pg} / $j->{sent} * 1e6;
        printf "  %-50s %7.0f/s  p50 %6.2f ms  p99 %6.2f ms  PG %6.0f us  foreign %.2f\n", $name, $p->{rps}, $p->{p50_ms}, $p->{p99_ms}, $us, $j->{foreign};
        push @out, { name => $name, pg_us => $us, rps => $p->{rps}, p50_ms => $p->{p50_ms}, p99_ms => $p->{p99_ms}, max_ms => $p->{max_ms}, foreign_cores => $j->{foreign} };
        $worst = [$p->{p99_ms}, $name] if $p->{p99_ms} > $worst->[0];
    }
    my ($plans, @bad) = _plans($bench, \%at);
    return { rows => $rows, sets => \@out, p99_ms => $worst->[0], worst => $worst->[1], plans => $plans, plans_bad => \@bad,
        foreign_cores => (sort { $b <=> $a } map { $_->{foreign_cores} } @out)[0] };
}

# The plans of the queries inside the page functions, by auto_explain.
sub _plans ($b, $at) {
    my $after = (1_767_225_600 + 1000) . '000000.' . '01930000-0000-7000-8000-000000000032';
    my $q = sub ($v) { defined $v ? "'$v'" : 'NULL' };
    my @calls;
    for (@lists) {
        my %f = map { /(\w+)=(.*)/ ? ($1 => $2 =~ s/\{(\w+)\}/$at->{$1}/r) : () } split /&/, $_->[1];
        for my $pos (undef, $after) {
            push @calls, [$_->[0] . (defined $pos ? ', far behind' : ''), defined $pos, "SELECT status FROM aegis.case_list(ARRAY['bench1'], ARRAY[" . $q->($f{status}) . '::text], ARRAY['
                . $q->($f{tag}) . '::text], ARRAY[' . $q->($f{since}) . '::timestamptz], ARRAY[' . $q->($f{until})
                . '::timestamptz], ARRAY[50], ARRAY[' . $q->($pos) . '::text])'];
        }
    }
    push @calls, map { ['timeline' . (defined $_ ? ', far behind' : ''), defined $_, "SELECT status FROM aegis.case_timeline_page(ARRAY['bench1'], ARRAY[bench.id(1)], ARRAY[50], ARRAY["
        . $q->($_) . "::text], ARRAY['x'])"] } undef, '100.0';
    my ($n, @bad) = (0);
    for my $c (@calls) {
        my ($name, $keyset, $sql) = @$c;
        my @pages = grep { /FROM aegis\.(?:ops_case c|case_tag g|case_timeline t)\s.*ORDER BY/s } split /^(?=Query Text:)/m, _plan($b, $sql);
        push @bad, "$name: no plan" unless @pages;
        for (@pages) {
            $n++;
            push @bad, "$name: a scan of a table" if /Seq Scan on (?:ops_case|case_tag|case_timeline)/;
            push @bad, "$name: no index condition" unless /(?:Index Cond|Recheck Cond):/;
            push @bad, "$name: the position is no index condition" if $keyset && !/Index Cond:.*ROW\(/;
        }
    }
    for my $f ('case_list', 'case_timeline_page') {
        push @bad, "$f uses OFFSET" if $b->pg->one("SELECT prosrc FROM pg_proc WHERE oid = 'aegis.$f'::regproc") =~ /\bOFFSET\b/i;
    }
    return ($n, @bad);
}

sub _plan ($b, $sql) {
    my $file = spew("$b->{dir}/plan.sql", <<~END);
        LOAD 'auto_explain';
        SET auto_explain.log_min_duration = 0;
        SET auto_explain.log_nested_statements = on;
        SET auto_explain.log_level = notice;
        SET enable_seqscan = off;
        SET jit = off;
        SET plan_cache_mode = force_generic_plan;
        $sql;
        END
    my $pg = $b->pg;
    my $r = Aegis::Test::run(['psql', '-Xq', '-h', $pg->{host}, '-p', $pg->{port}, '-U', $pg->{superuser}, '-d', 'aegis', '-f', $file],
        timeout => 120, env => { PGPASSWORD => $pg->{password} });
    return $r->{err} =~ s/^psql:[^\n]*plan:\n//mgr;
}

1;
