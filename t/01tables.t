# 01tables.t: the tables against each other, and everything that is made from
# them or repeats them: SQL, OpenAPI, AsyncAPI, reference pages, READMEs. A table
# row that leads nowhere, or a copy that is stale, fails here without a service.
use v5.36;
use lib 't/lib';
use Test::More;
use Aegis::Def;
use Aegis::Test;

my %state = map { $_->[0] => { terminal => $_->[1], command => $_->[2] } } def_rows('states', 'AEGIS_STATE');
my %event = map { $_->[0] => 1 } def_rows('events', 'AEGIS_EVENT');
my %guard = map { $_->[0] => $_->[1] } def_rows('guards', 'AEGIS_GUARD');
my @facts = def_rows('facts', 'AEGIS_FACT');
my @trans = map { { rule => $_->[0], from => $_->[1], event => $_->[2], guard => $_->[3], to => $_->[4] } }
    def_rows('transitions', 'AEGIS_TRANSITION');
my %subject = map { $_->[0] => { stream => $_->[1], producer => $_->[2], consumer => $_->[3],
                                 on_true => $_->[4], on_false => $_->[5] } } def_rows('subjects', 'AEGIS_SUBJECT');
my %stream = map { $_->[0] => [ split / /, $_->[2] ] } def_rows('streams', 'AEGIS_STREAM');
my @consumers = map { { durable => $_->[0], role => $_->[1], stream => $_->[2], filter => $_->[3] } }
    def_rows('consumers', 'AEGIS_CONSUMER');
my @routes = map { { id => $_->[0], method => $_->[1], path => $_->[2], kind => $_->[3], stmt => $_->[4],
                     schema => $_->[5], scope => $_->[6] } } def_rows('routes', 'AEGIS_ROUTE');
my %module = map { $_->[0] => { role => $_->[1], command => $_->[2], states => [ split / /, $_->[3] ] } }
    def_rows('modules', 'AEGIS_MODULE');
my %stmt = map { $_->[0] => { function => $_->[1], kind => $_->[2], columns => [ $_->[3] =~ /AEGIS_C\((\w+)\)/g ] } }
    def_rows('statements', 'AEGIS_STMT');
my %column = map { $_->[0] => $_->[1] } def_rows('columns', 'AEGIS_COLUMN');
my @fields = def_rows('fields', 'AEGIS_FIELD');

# --- the machine
subtest 'the state machine is whole' => sub {
    my (%edge, @bad, %seen_rule);
    for my $t (@trans) {
        push @bad, "$t->{rule} twice" if $seen_rule{ $t->{rule} }++;
        push @bad, "$t->{from} $t->{event} twice" if $edge{ $t->{from} }{ $t->{event} }++;
        push @bad, "$t->{rule}: no state $_" for grep { !$state{$_} } @$t{qw(from to)};
        push @bad, "$t->{rule}: no event $t->{event}" unless $event{ $t->{event} };
        push @bad, "$t->{rule}: no guard $t->{guard}" unless exists $guard{ $t->{guard} };
        push @bad, "$t->{rule}: leaves a terminal state" if $state{ $t->{from} }{terminal};
    }
    is_deeply(\@bad, [], 'every row names a state, an event and a guard, once');
    my (@todo, %reached) = ('NEW');
    while (my $s = shift @todo) {
        next if $reached{$s}++;
        push @todo, map { $_->{to} } grep { $_->{from} eq $s } @trans;
    }
    is_deeply([ grep { !$reached{$_} } sort keys %state ], [], 'every state can be reached from NEW');
    is_deeply([ grep { !$state{$_}{terminal} && !$edge{$_} } sort keys %state ], [],
        'every state that is not terminal can be left');
    is_deeply([ grep { my $e = $_; !grep { $_->{event} eq $e } @trans } sort keys %event ], [],
        'every event is legal somewhere');
    is_deeply([ grep { my $g = $_; !grep { $_->{guard} eq $g } @trans } sort keys %guard ], [],
        'every guard is used');
    my @unparked = grep { my $s = $_; $s ne 'PARKED' && !$state{$s}{terminal}
        && !grep { $_->{from} eq $s && $_->{event} eq 'force_park' && $_->{to} eq 'PARKED' } @trans } sort keys %state;
    is_deeply(\@unparked, [], 'every open state can be parked by force');
    is_deeply([ grep { /_failed$|_rejected$/ && (grep { $_->{to} ne 'PARKED' } do { my $e = $_;
        grep { $_->{event} eq $e } @trans }) } sort keys %event ], [], 'every failure lands in PARKED');
    my %need = map { $_ => 1 } map { /AEGIS_FACT_BIT\((\w+)\)/g } values %guard;
    is_deeply([ sort keys %need ], [ sort map { $_->[0] } @facts ], 'every fact is asked for by a guard, and known');
    is_deeply([ sort { $a <=> $b } map { $_->[1] } @facts ], [ 0 .. $#facts ], 'fact bits are dense');
};

# --- messages
sub carried ($subject, $stream_id) {
    for my $p (@{ $stream{$stream_id} // [] }) {
        my $re = quotemeta $p;
        $re =~ s/\\>$/.+/;
        return 1 if $subject =~ /^$re$/;
    }
    return 0;
}

subtest 'every message has a way' => sub {
    my @bad;
    for my $s (sort keys %subject) {
        my $d = $subject{$s};
        push @bad, "$s: no stream $d->{stream}" unless $stream{ $d->{stream} };
        push @bad, "$s: its stream does not take it" unless carried($s, $d->{stream});
        my @takers = grep { carried($s, $_) } keys %stream;
        push @bad, "$s: in streams @takers" if @takers != 1;
        push @bad, "$s: no event $_" for grep { $_ ne '' && !$event{$_} } @$d{qw(on_true on_false)};
        push @bad, "$s: no producer" if $d->{producer} eq '';
        if ($d->{consumer} ne '') {
            push @bad, "$s: role $d->{consumer} does not consume it" unless grep {
                $_->{role} eq $d->{consumer} && $_->{stream} eq $d->{stream}
                && ($_->{filter} eq '' || $_->{filter} eq $s) } @consumers;
        }
    }
    is_deeply(\@bad, [], 'every subject has one stream, a producer and its consumer');
    my %command = map { $_->{command} => 1 } grep { $_->{command} ne '' } values %state;
    is_deeply([ grep { !$subject{$_} } sort keys %command ], [], 'every command of a state is a subject');
    is_deeply([ grep { /^cmd\./ && !$command{$_} } sort keys %subject ], [], 'every command is sent by a state');
    is_deeply([ grep { my $c = $_; !grep { carried($_->{filter} || 'x', $_->{stream}) || $_->{filter} eq '' } $c } @consumers ],
        [], 'every consumer reads what its stream carries');
    my %role = map { $_->{role} => 1 } @consumers;
    is_deeply([ grep { !$role{ $module{$_}{role} } } sort keys %module ], [], 'every module has a consumer role');
    # a module without a command is people's alone
    for my $m (grep { $module{$_}{command} ne '' } sort keys %module) {
        is($subject{ $module{$m}{command} }{consumer}, $module{$m}{role}, "$m is run by the role that gets its command");
        my ($s) = grep { $state{$_}{command} eq $module{$m}{command} } keys %state;
        ok((grep { $_ eq $s } @{ $module{$m}{states} }), "$m may run in the state that commands it");
    }
    for my $m (sort keys %module) {
        is_deeply([ grep { !$state{$_} } @{ $module{$m}{states} } ], [], "$m may run in known states only");
        ok((grep { $_->{stmt} eq $m } @routes), "$m is run by a route") if $module{$m}{command} eq '';
    }
    # a fact that fires must be legal in the state that asked for it
    my @dead = map { my $s = $_; grep { my $e = $_; $e ne '' && !grep { $_->{event} eq $e } @trans }
        @{ $subject{$s} }{qw(on_true on_false)} } sort keys %subject;
    is_deeply(\@dead, [], 'every fact that fires, fires something');
};

# --- routes and statements
subtest 'every route has its parts' => sub {
    my %schema = map { $_->[0] => 1 } @fields;
    my (@bad, %seen, %used);
    for my $r (@routes) {
        push @bad, "$r->{id}: twice" if $seen{"$r->{method} $r->{path}"}++;
        push @bad, "$r->{id}: no schema $r->{schema}" if $r->{schema} ne 'none' && !$schema{ $r->{schema} };
        push @bad, "$r->{id}: a body without a write" if $r->{schema} ne 'none' && $r->{method} eq 'GET';
        push @bad, "$r->{id}: a write without a schema" if $r->{schema} eq 'none' && $r->{method} !~ /^(GET|DELETE)$/;
        $used{ $r->{schema} } = 1;
        if ($r->{kind} =~ /^(?:LOCAL|WHO)$/) { push @bad, "$r->{id}: a statement" if $r->{stmt} ne 'NONE' }
        elsif ($r->{kind} eq 'MODULE') { push @bad, "$r->{id}: no module $r->{stmt}" unless $module{ $r->{stmt} } }
        else {
            my $s = $stmt{ $r->{stmt} } or push @bad, "$r->{id}: no statement $r->{stmt}";
            next unless $s;
            my $read = $r->{kind} =~ /^(READ|PAGE|SEARCH)/;
            push @bad, "$r->{id}: kind $r->{kind} with a $s->{kind} statement"
                if $read != ($s->{kind} =~ /^READ/);
            my %has = map { $_ => 1 } @{ $s->{columns} };
            my $id = { READ => 'case_id', READ_PLAN => 'plan_id', READ_DIFF => 'plan_id', READ_EXEC => 'exec_id', READ_VERIFY => 'verify_id', READ_DOC => 'doc_id', READ_FINDING => 'finding_id', WRITE => 'case_id',
                       PAGE => 'case_id' }->{ $r->{kind} };
            $id = 'exec_id' if $r->{kind} eq 'WRITE' && $r->{path} =~ m{^/exec/};
            $id = 'doc_id' if $r->{kind} eq 'WRITE' && $r->{path} =~ m{^/kb/};
            push @bad, "$r->{id}: {id} has no column $id" if $r->{path} =~ /\{id\}/ && !$has{$id};
            push @bad, "$r->{id}: a page without limit and after" if $r->{kind} eq 'PAGE' && !($has{limit} && $has{after});
            push @bad, "$r->{id}: a write without key and hash" if $r->{kind} eq 'WRITE' && !($has{key} && $has{hash});
        }
        push @bad, "$r->{id}: open to everybody" if $r->{kind} ne 'LOCAL' && $r->{scope} eq '';
    }
    is_deeply(\@bad, [], 'every route has a statement or a module, a schema and a scope that fit');
    is_deeply([ grep { !$used{$_} } sort keys %schema ], [], 'every schema is used by a route');
    @bad = map { my $s = $_; map { "$s: no column $_" } grep { !$column{$_} } @{ $stmt{$s}{columns} } } sort keys %stmt;
    push @bad, map { "field $_->[0].$_->[1]: no column $_->[5]" } grep { $_->[5] ne 'none' && !$column{ $_->[5] } } @fields;
    is_deeply(\@bad, [], 'every column that is named exists');
    my %named = map { $_ => 1 } map { @{ $stmt{$_}{columns} } } keys %stmt;
    is_deeply([ grep { !$named{$_} } sort keys %column ], [], 'every column is used by a statement');
};

subtest 'statements.def and sql/functions say the same' => sub {
    my $sql = join "\n", map { slurp($_) } glob root . '/sql/functions/*.sql';
    for my $id (sort keys %stmt) {
        my ($params) = $sql =~ /CREATE OR REPLACE FUNCTION aegis\.\Q$stmt{$id}{function}\E\s*\(([^)]*)\)/s;
        if (!defined $params) { fail("$id: aegis.$stmt{$id}{function} exists"); next }
        my @got = map { my ($n, $t) = /^\s*p_(\w+)\s+(\S+)/; "$n $t" } split /,/, $params;
        my @want = map { my $t = $column{$_}; "$_ $t\[]" } @{ $stmt{$id}{columns} };
        push @want, 'notify boolean' if $stmt{$id}{kind} eq 'WRITE_NOTIFY';
        is_deeply(\@got, \@want, "$id: aegis.$stmt{$id}{function} takes its columns in order");
    }
    for my $row (def_rows('statements', 'AEGIS_SQL')) {
        my ($id, $n, $text) = @$row;
        my %p = map { $_ => 1 } $text =~ /\$(\d+)/g;
        is(scalar keys %p, $n, "$id has $n parameters");
        for my $f ($text =~ /\baegis\.(\w+)\s*\(/g) {
            like($sql, qr/FUNCTION aegis\.\Q$f\E\s*\(/, "$id: aegis.$f exists") unless $f eq 'gate_policy';
        }
    }
};

subtest 'errors are told apart' => sub {
    my (%code, @bad);
    for my $e (def_rows('errors', 'AEGIS_ERROR')) {
        my ($id, $code, $http, $verdict, $title, $remedy) = @$e;
        push @bad, "$id: code twice" if $code{$code}++;
        push @bad, "$id: status $http" unless $http =~ /^(200|4\d\d|50[0-5])$/;
        push @bad, "$id: verdict $verdict" unless $verdict =~ /^(DONE|RETRY|DEAD)$/;
        push @bad, "$id: says nothing to do" if $id ne 'OK' && ($title eq '' || $remedy eq '');
        push @bad, "$id: a $http that no retry helps" if $http =~ /^50[2-4]$/ && $verdict ne 'RETRY';
    }
    is_deeply(\@bad, [], 'every error has its own code, a status, a verdict and a remedy');
};

# --- what repeats the tables
subtest 'openapi.json is the routes table' => sub {
    my $file = root . '/docs/openapi.json';
    ok(-f $file, 'docs/openapi.json exists') or return;
    my $doc = json_decode(slurp($file));
    like($doc->{openapi}, qr/^3\.1/, 'it is OpenAPI 3.1');
    my @docs;
    for my $path (sort keys %{ $doc->{paths} }) {
        push @docs, map { uc($_) . ' ' . ($path =~ s/\{\w+\}/{id}/r) }
            grep { /^(get|post|patch|put|delete|head|options)$/ } sort keys %{ $doc->{paths}{$path} };
    }
    is_deeply([ sort @docs ], [ sort map { "$_->{method} $_->{path}" } @routes ],
        'it has exactly the paths and methods of routes.def');
    my %by_schema;
    push @{ $by_schema{ $_->[0] } }, $_ for @fields;
    # what a type of fields.def is in JSON Schema; values of enumerations are those of the checker
    my $body = slurp(root . '/core/aegis_body.c');
    my $values = sub ($name) { [ ($body =~ /aegis_body_$name\[\] =\s*\{ ([^}]*), NULL \}/)[0] =~ /"(\w+)"/g ] };
    my %text = (type => 'string', pattern => '^[^\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f]*$');
    my %means = (
        STRING => sub ($n) { +{ %text, minLength => 1, maxLength => $n } },
        TEXT => sub ($n) { +{ %text, maxLength => $n } },
        INT => sub ($n) { +{ type => 'integer', minimum => 1, maximum => $n } },
        BOOL => sub ($) { +{ type => 'boolean' } },
        UUID => sub ($) { +{ type => 'string', format => 'uuid' } },
        TIME => sub ($) { +{ type => 'string', format => 'date-time' } },
        TAGS => sub ($n) { +{ type => 'array', maxItems => $n, uniqueItems => \1, items => { type => 'string', minLength => 1, maxLength => 64 } } },
        LABELS => sub ($n) { +{ type => 'object', maxProperties => $n, propertyNames => { pattern => '^[A-Za-z0-9_.-]{1,63}$' },
            additionalProperties => { type => 'string', maxLength => 512 } } },
        OBJECT => sub ($) { +{ type => 'object' } },
        ENUM_EVENT => sub ($) { +{ enum => [ map { $_->[0] } def_rows('events', 'AEGIS_EVENT') ] } },
        map { my $v = $values->(lc . 's'); ("ENUM_$_" => sub ($) { +{ enum => $v } }) } qw(KIND MODE FORMAT));
    $means{ENUM_SEVERITY} = sub ($) { { enum => $values->('severities') } };
    for my $r (grep { $_->{schema} ne 'none' } @routes) {
        my ($path) = grep { (s/\{\w+\}/{id}/r) eq $r->{path} } keys %{ $doc->{paths} };
        my $op = $doc->{paths}{$path}{ lc $r->{method} };
        my $schema = $op->{requestBody}{content}{'application/json'}{schema};
        $schema = _ref($doc, $schema);
        my @want = sort map { $_->[1] } @{ $by_schema{ $r->{schema} } };
        is_deeply([ sort keys %{ $schema->{properties} // {} } ], \@want,
            "$r->{id}: its body has the fields of fields.def");
        is_deeply([ sort @{ $schema->{required} // [] } ],
            [ sort map { $_->[1] } grep { $_->[3] } @{ $by_schema{ $r->{schema} } } ], "$r->{id}: and requires the same");
        my @differ;
        for my $field (@{ $by_schema{ $r->{schema} } }) {
            my ($name, $type, $limit) = (@$field[1, 2], 0 + $field->[4]);
            my %is = %{ _ref($doc, $schema->{properties}{$name}) };
            my %want = %{ $means{$type} ? $means{$type}->($limit) : { type => "unknown $type" } };
            push @differ, map { "$name.$_: " . json_encode([ $is{$_} ]) . ', not ' . json_encode([ $want{$_} ]) }
                grep { json_encode([ $is{$_} ]) ne json_encode([ $want{$_} ]) } sort keys %want;
        }
        is_deeply(\@differ, [], "$r->{id}: each with the type, limits and values of fields.def");
        ok((ref $schema->{additionalProperties} || 1) && defined $schema->{additionalProperties}
            && !$schema->{additionalProperties}, "$r->{id}: and refuses others");
        my @p = map { _ref($doc, $_) } @{ $op->{parameters} // [] }, @{ $doc->{paths}{$path}{parameters} // [] };
        ok((grep { lc $_->{name} eq 'idempotency-key' && $_->{required} } @p), "$r->{id}: requires Idempotency-Key");
    }
    my $schemas = $doc->{components}{schemas};
    is_deeply($schemas->{Status}{enum}, [ map { $_->[0] } def_rows('states', 'AEGIS_STATE') ], 'its states are those of states.def');
    is_deeply($schemas->{MissingFact}{properties}{fact}{enum}, [ map { $_->[0] } def_rows('facts', 'AEGIS_FACT') ], 'its facts those of facts.def');
    my %problem = map { $_ => 1 } @{ $schemas->{Problem}{properties}{type}{enum} };
    my %error = map { ("urn:aegis:problem:$_->[1]" => 1) } def_rows('errors', 'AEGIS_ERROR');
    is_deeply([ grep { !$error{$_} } sort keys %problem ], [], 'and its problems of errors.def');
    my %query = (Limit => [1, 'AEGIS_QUERY_LIMIT_MAX'], KbTopk => [1, 'AEGIS_QUERY_TOPK_MAX']);
    for my $name (sort keys %query) {
        my ($most) = slurp(root . '/core/aegis_query.h') =~ /#define $query{$name}[1]\s+(\d+)/;
        my $s = $doc->{components}{parameters}{$name}{schema};
        is_deeply([ $s->{minimum}, $s->{maximum} ], [ $query{$name}[0], $most ], "$name has the limits of the code");
    }
    is_deeply([ grep { !_resolves($doc, $_) } _refs($doc) ], [], 'every $ref in it resolves');
};

sub _ref ($doc, $node) {
    return $node unless ref $node eq 'HASH' && $node->{'$ref'};
    return _ref($doc, _resolves($doc, $node->{'$ref'}) // {});
}

sub _resolves ($doc, $ref) {
    my @path = $ref =~ m{^#/(.+)} ? split(m{/}, $1) : return undef;
    my $at = $doc;
    for my $p (@path) {
        $p =~ s/~1/\//g; $p =~ s/~0/~/g;
        $at = ref $at eq 'HASH' ? $at->{$p} : ref $at eq 'ARRAY' ? $at->[$p] : return undef;
        return undef unless defined $at;
    }
    return $at;
}

sub _refs ($node) {
    return map { _refs($_) } @$node if ref $node eq 'ARRAY';
    return () unless ref $node eq 'HASH';
    return map { $_ eq '$ref' && !ref $node->{$_} ? $node->{$_} : _refs($node->{$_}) } sort keys %$node;
}

subtest 'asyncapi.yaml is the subjects table' => sub {
    my ($file) = grep { -f } map { root . "/docs/$_" } 'asyncapi.yaml', 'asyncapi.yml';
    ok($file, 'docs/asyncapi.yaml exists') or return;
    my $text = slurp($file);
    like($text, qr/^asyncapi:\s*['"]?3\./m, 'it is AsyncAPI 3');
    my %addr = map { $_ => 1 } $text =~ /^\s+address:\s*['"]?([\w.]+)['"]?\s*$/mg;
    is_deeply([ sort keys %addr ], [ sort keys %subject ], 'it has exactly the subjects of subjects.def');
};

subtest 'generated files are fresh' => sub {
    my @generated = files_of(qr{^((sql|docs)/generated/|docs/schema/|docs/openapi\.json$)});
    cmp_ok(scalar @generated, '>', 0, 'there are generated files') or return;
    my $out = scratch('generated');
    my $r = run(['make', '-s', '-C', root, "B=" . build_dir, "GENERATED=$out", 'tables'], timeout => 300);
    is($r->{rc}, 0, 'make tables writes them elsewhere') or diag($r->{out} . $r->{err});
    my %made = map { s{^\Q$out/\E}{}r => slurp($_) } split /\n/, run_ok(['find', $out, '-type', 'f']);
    is_deeply([ sort keys %made ], \@generated, 'exactly the files that are there are made');
    for my $f (@generated) {
        ok(($made{$f} // '') eq slurp(root . "/$f"), "$f is fresh") or diag('run make tables');
    }
};

# Copies of the tables in SQL are rows with the same values.
subtest 'sql/generated holds the rows of the tables' => sub {
    my $sql = join "\n", map { slurp($_) } glob root . '/sql/generated/*.sql';
    my $q = sub ($s) { "'" . ($s =~ s/'/''/gr) . "'" };
    my %n = (transitions => 0);
    for my $row (def_rows('transitions', 'AEGIS_TRANSITION')) {
        my @v = map { quotemeta $q->($_) } @$row[1, 2, 3];
        $n{transitions}++ if $sql =~ /\(\s*$row->[0],\s*$v[0],\s*$v[1],\s*$v[2],\s*\d+,\s*\Q@{[$q->($row->[4])]}\E/;
    }
    is($n{transitions}, scalar @trans, 'every transition');
    is(scalar(grep { index($sql, $q->($_->[1])) >= 0 } def_rows('errors', 'AEGIS_ERROR')),
        scalar(def_rows('errors', 'AEGIS_ERROR')), 'every error code');
    is(scalar(grep { index($sql, $q->($_)) >= 0 } keys %subject), scalar keys %subject, 'every subject');
};

subtest 'the scripts that come along are listed with their hashes' => sub {
    my $r = run(['sha256sum', '--check', '--strict', 'SHA256SUMS'], cwd => root . '/conf/scripts');
    is($r->{rc}, 0, 'conf/scripts/SHA256SUMS is fresh') or diag($r->{out} . $r->{err}, 'in conf/scripts: sha256sum *.sh >SHA256SUMS');
    my %listed = map { $_ => 1 } slurp(root . '/conf/scripts/SHA256SUMS') =~ /^\w{64}  (\S+)$/mg;
    is_deeply([ grep { !$listed{$_} } map { s{.*/}{}r } grep { -x } glob root . '/conf/scripts/*' ], [], 'and lists every one');
};

subtest 'every action has an adapter' => sub {
    my @adapters = def_rows('adapters', 'AEGIS_ADAPTER');
    my %vtable = map { $_->[3] => 1 } @adapters;
    my ($list) = slurp(root . '/workers/roles/exec/aegis_adapter.h') =~ /define AEGIS_ADAPTER_VTABLES\(X\)(.*?)\n\n/s;
    is_deeply([ sort $list =~ /X\((\w+)\)/g ], [ sort keys %vtable ], 'the vtables of aegis_adapter.h are the ones of adapters.def');
    my %id = map { $_->[0] => 1 } @adapters;
    is_deeply([ grep { !$id{$_} } map { $_->[0] } def_rows('adapters', 'AEGIS_PARAM') ], [], 'every parameter is of an action');
};

subtest 'READMEs name real files' => sub {
    my @missing;
    my %is_file = map { $_ => 1 } files_of();
    my %is_dir;
    for my $f (keys %is_file) { my $d = $f; $is_dir{$d} = 1 while $d =~ s{/[^/]+$}{} }
    for my $doc (files_of(qr{\.md$})) {
        my $text = slurp(root . "/$doc");
        my ($dir) = $doc =~ m{^(.*)/[^/]+$};
        my @names;
        # links, and code spans that look like a path of this project
        push @names, $1 while $text =~ /\]\((?!https?:|#|mailto:)([^)#\s]+)/g;
        while ($text =~ /`([^`\n]+)`/g) {
            my $c = $1;
            push @names, $c if $c =~ m{^(?:core|ngx_aegis_module|workers|sql|conf|t|deploy|docs)/[\w./@+-]+$} && $c !~ /\.\.\./;
        }
        for my $n (@names) {
            my $plain = $n =~ s{/$}{}r;
            my @try = ($plain, defined $dir ? "$dir/$plain" : ());
            s{(^|/)\./}{$1}g, do { 1 while s{[^/]+/\.\./}{} } for @try;
            next if grep { $is_file{$_} || $is_dir{$_} } @try;
            push @missing, "$doc: $n";
        }
    }
    is_deeply(\@missing, [], 'every path in a page is there');
    for my $f (files_of(qr{(^|/)README\.md$})) {
        my $n = () = slurp(root . "/$f") =~ /\n/g;
        next if $f eq 'README.md';
        cmp_ok($n, '<=', 80, "$f fits on a page or two");
    }
};

done_testing;
