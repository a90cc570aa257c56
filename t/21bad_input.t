# 21bad_input.t: bad input on every route gets the right problem document and
# changes nothing. The cases are the table t/data/bad_input.json, multiplied by
# routes.def and fields.def: each JSON error, wrong types, unknown fields, too
# large, wrong method, wrong media type, missing and doubled headers, unknown
# ids; and hand-made requests that no client library would send.
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
my $pg = $stack->pg;
my $table = json_decode(slurp(root . '/t/data/bad_input.json'));
my @routes = map { { id => $_->[0], method => $_->[1], path => $_->[2], kind => $_->[3], schema => $_->[5] } }
    def_rows('routes', 'AEGIS_ROUTE');
my %fields;
push @{ $fields{ $_->[0] } }, { name => $_->[1], type => $_->[2], required => $_->[3], limit => $_->[4] }
    for def_rows('fields', 'AEGIS_FIELD');

my $case = Aegis::Case->create($http, mode => 'manual', title => 'the one that is not to change');
$case->drive('ANALYZING');
my $id = $case->id;
my $plan = $case->plan->{plan_id};
$stack->quiet or BAIL_OUT('the stack does not come to rest');

sub url ($r, $with = $id) { return $r->{path} =~ s/\{id\}/$with/r }

# A body that the schema lets through.
sub valid ($schema) {
    my %v = (create => { title => 'x', mode => 'manual' }, transition => { event => 'resume' }, cancel => { reason => 'x' },
        ask => { reason => 'x' }, hint => { dataset => 'logs', bucket => 'b', object_key => 'k', t_from => '2026-11-01T00:00:00Z', t_to => '2026-11-01T00:01:00Z' },
        document => { body => "# x\n\ny\n" });
    return { %{ $v{$schema} // { case_id => $id } } };
}

# Text out of a short form: "x*256", "hex:…".
sub expand ($s) {
    return $s unless defined $s && !ref $s;
    return pack 'H*', $1 if $s =~ /^hex:([0-9a-f]+)$/;
    return $s =~ s/([\w])\*(\d{2,})/$1 x $2/er;
}

sub body_of ($form, $schema) {
    return expand($form) if $form =~ /^hex:/;
    if ($form =~ /^valid\+(.*)/s) {
        my $more = substr $1, 1;
        return substr(json_encode(valid($schema)), 0, -1) . ",$more";
    }
    return '{"meta":' x $1 . '{}' . '}' x $1 if $form =~ /^deep:(\d+)/;
    return '{"meta":' . '[' x $1 . ']' x $1 . '}' if $form =~ /^deeparray:(\d+)/;
    return json_encode({ map { ("f$_" => $_) } 1 .. $1 }) if $form =~ /^many:(\d+)/;
    return $form;
}

# A wrong value out of the table, for a field with this limit.
sub value_of ($v, $limit) {
    # looking at a number as text would make it a text in JSON
    return $v if !defined $v || ref $v || json_encode($v) !~ /^"/;
    return 'x' x ($limit + 1) if $v eq 'long:+1';
    return "\x{1f600}" x ($limit + 1) if $v eq 'wide:+1';
    return [ map { "t$_" } 1 .. $1 ] if $v =~ /^tags:(\d+)$/;
    return [ 'x' x $1 ] if $v =~ /^tag:(\d+)$/;
    return { map { ("l$_" => 'x') } 1 .. $1 } if $v =~ /^labels:(\d+)$/;
    return { l => 'x' x $1 } if $v =~ /^label:(\d+)$/;
    return { 'l' x $1 => 'x' } if $v =~ /^labelname:(\d+)$/;
    return { a => 'x' x $limit } if $v eq 'object:+1';
    return $v;
}

sub refused ($r, $status, $problem, $what, $pointer = undef) {
    my %ok = map { $_ => 1 } ref $status ? @$status : $status;
    my $fine = $ok{ $r->status } && $r->problem eq $problem
        && $r->json->{status} == $r->status && ($r->json->{instance} // '') eq 'urn:aegis:request:' . ($r->header('x-request-id') // '-');
    my $at = !defined $pointer || grep { $_->{pointer} =~ /^\Q$pointer\E(?:\/|$)/ && length $_->{detail} }
        @{ $r->json->{errors} // [] };
    ok($fine && $at, "$what: " . (ref $status ? "@$status" : $status) . " $problem" . (defined $pointer ? " at $pointer" : ''))
        or diag('got ' . $r->brief);
}

# Run code; the database must be the same after it.
sub unchanged ($what, $code) {
    subtest $what => sub {
        my $before = $pg->fingerprint;
        $code->();
        my $after = $pg->fingerprint;
        is_deeply([ Aegis::Pg::changed($before, $after) ], [], 'and nothing in the database changed');
    };
}

for my $r (grep { $_->{schema} ne 'none' } @routes) {
    my $at = "$r->{method} $r->{path}";
    unchanged("$at: bodies that are not JSON or not the schema" => sub {
        for my $c (@{ $table->{json} }) {
            my ($what, $form, $status, $problem, $pointer) = @$c;
            refused($http->write($r->{method}, url($r), body_of($form, $r->{schema})), $status, $problem, $what, $pointer);
        }
        for my $f (@{ $fields{ $r->{schema} } }) {
            for my $v (@{ $table->{field_values}{ $f->{type} } or die "no values for $f->{type}" }) {
                my %body = (%{ valid($r->{schema}) }, $f->{name} => value_of($v->[1], $f->{limit}));
                refused($http->write($r->{method}, url($r), \%body), 422, 'schema-violation',
                    "$f->{name} is $v->[0]", "/$f->{name}");
            }
            next unless $f->{required};
            my $body = valid($r->{schema});
            delete $body->{ $f->{name} };
            refused($http->write($r->{method}, url($r), $body), 422, 'schema-violation', "$f->{name} is missing", "/$f->{name}");
        }
        my $both = $http->write($r->{method}, url($r), { colour => 1, size => 2, weight => 3 });
        cmp_ok(scalar @{ $both->json->{errors} // [] }, '>=', 3, 'every fault is said at once');
        cmp_ok(scalar @{ $http->write($r->{method}, url($r), body_of('many:100', $r->{schema}))->json->{errors} // [] }, '<=', 32,
            'but not more than 32');
    });
    unchanged("$at: headers" => sub {
        for my $c (@{ $table->{headers} }) {
            my ($what, $headers, $status, $problem, $only) = @$c;
            next if $only && !grep { $_ eq $r->{id} } @$only;
            my @h;
            for my $name (sort keys %$headers) {
                push @h, map { ($name, expand($_)) } ref $headers->{$name} ? @{ $headers->{$name} } : $headers->{$name};
            }
            my %given = map { lc $_ => 1 } keys %$headers;
            push @h, 'Idempotency-Key', new_key() unless $given{'idempotency-key'};
            refused($http->request($r->{method}, url($r), json => valid($r->{schema}), headers => \@h), $status, $problem, $what);
        }
        my @key = ('Idempotency-Key', new_key());
        for my $twice ('Authorization', 'Content-Type', 'If-Match') {
            next if $twice eq 'If-Match' && $r->{id} ne 'CASE_TRANSITION';
            my $v = { Authorization => 'Bearer ' . $stack->token, 'Content-Type' => 'application/json', 'If-Match' => '"2"' }->{$twice};
            my $a = $http->request($r->{method}, url($r), json => valid($r->{schema}), headers => [@key, $twice, $v, $twice, $v]);
            ok($a->status >= 400 && $a->status < 500 && $a->problem ne '', "$twice twice is refused") or diag($a->brief);
        }
        my $big = '{"title":"' . 'x' x 2_000_000 . '"}';
        refused($http->request($r->{method}, url($r), body => $big, headers => \@key), 413, 'too-large', 'a body of 2 MB');
        refused($http->raw($http->render($r->{method}, url($r), headers => [@key, 'Transfer-Encoding', 'chunked'], body =>
            join('', map({ "10000\r\n" . 'x' x 65536 . "\r\n" } 1 .. 30), "0\r\n\r\n"))), 413, 'too-large', 'a chunked body of 2 MB');
        $http->close;
    });
}

unchanged('queries of pages' => sub {
    for my $r (grep { $_->{kind} eq 'PAGE' } @routes) {
        for my $q (@{ $table->{queries} }) {
            my ($what, $query, $status, $problem, $only) = @$q;
            next if $only && !grep { $_ eq $r->{id} } @$only;
            refused($http->get(url($r) . '?' . expand($query)), $status, $problem, "$r->{path}: $what");
        }
    }
    my $next = $http->get('/case?limit=1')->json->{next};
    if ($next) {
        refused($http->get("/case?limit=1&cursor=" . (substr($next, 0, 5) eq 'AAAAA' ? 'B' : 'AAAAA') . substr $next, 5), 400,
            'cursor-invalid', 'a cursor that was changed');
        refused($http->get("/case?limit=1&status=NEW&cursor=$next"), 400, 'cursor-invalid', 'a cursor with other filters');
        refused($http->get("/case/$id/timeline?cursor=$next"), 400, 'cursor-invalid', 'a cursor of another page');
    }
});

unchanged('ids in paths and bodies' => sub {
    for my $r (grep { $_->{path} =~ /\{id\}/ } @routes) {
        for my $p (@{ $table->{paths} }) {
            my ($what, $text, $status) = @$p;
            my $a = $r->{schema} eq 'none' ? $http->get(url($r, expand($text)))
                : $http->write($r->{method}, url($r, expand($text)), valid($r->{schema}));
            refused($a, $status, $a->status == 400 ? 'bad-request' : 'not-found', "$r->{path}: $what");
        }
    }
    for my $r (grep { $_->{schema} !~ /^(none|create|transition|cancel|document|ask)$/ } @routes) {
        refused($http->write($r->{method}, url($r), { %{ valid($r->{schema}) }, case_id => uuid, ($r->{schema} eq 'approve' ? (plan_hash => 'f' x 64) : ()) }), 404, 'not-found', "$r->{path}: a case that nobody has");
    }
});

unchanged('methods' => sub {
    for my $r (@routes) {
        for my $m (@{ $table->{methods} }) {
            next if grep { $_->{path} eq $r->{path} && $_->{method} eq $m->[0] } @routes;
            my $a = $http->raw($http->render($m->[0], url($r), headers => ['Content-Length', 0]));
            my $p = $a->status == 501 ? 'not-implemented' : 'method-not-allowed';
            refused($a, $m->[1], $p, "$m->[0] $r->{path}");
            like($a->header('allow') // '', qr/$r->{method}/, "$m->[0] $r->{path} has Allow") if $a->status == 405;
            $http->close;
        }
    }
});

unchanged('requests that no library sends' => sub {
    my $auth = 'Authorization: Bearer ' . $stack->token . "\r\n";
    my $line = "POST /case/create HTTP/1.1\r\nHost: x\r\n$auth";
    my $json = "Content-Type: application/json\r\n";
    my $key = sub { 'Idempotency-Key: ' . new_key() . "\r\n" };
    my @raw = (
        ['no Host', "POST /case/create HTTP/1.1\r\n$auth\r\n"],
        ['a bad version', "GET /case HTTP/9.1\r\nHost: x\r\n\r\n"],
        ['a request line of nonsense', "\x01\x02\x03\r\n\r\n"],
        ['two Content-Lengths', $line . $json . $key->() . "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"],
        ['a list of Content-Lengths', $line . $json . $key->() . "Content-Length: 2, 2\r\n\r\n{}"],
        ['a negative Content-Length', $line . $json . $key->() . "Content-Length: -2\r\n\r\n{}"],
        ['Content-Length and chunked', $line . $json . $key->() . "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
        ['an unknown transfer coding', $line . $json . $key->() . "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"],
        ['a bad chunk', $line . $json . $key->() . "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"],
        ['a header that is a megabyte', "GET /case HTTP/1.1\r\nHost: x\r\nX: " . 'x' x 1_000_000 . "\r\n\r\n"],
        ['a path that is 64 kB', 'GET /case/' . 'x' x 65536 . " HTTP/1.1\r\nHost: x\r\n$auth\r\n"],
        ['a path that climbs', "GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n$auth\r\n"],
        ['an escaped path that climbs', "GET /case/%2e%2e/%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: x\r\n$auth\r\n"],
        ['a header folded over lines', $line . $json . $key->() . "X-Y: a\r\n b\r\nContent-Length: 0\r\n\r\n"],
        ['a NUL in a header', $line . $json . "Idempotency-Key: a\0b\r\nContent-Length: 2\r\n\r\n{}"],
    );
    for my $c (@raw) {
        my $a = $http->raw($c->[1], timeout => 10);
        $http->close;
        ok($a->status >= 400 && $a->status < 510 && $a->status != 500, "$c->[0] is refused (" . $a->status . ')') or diag($a->brief);
        next if $a->status == 0;
        is($a->header('content-type') // '', 'application/problem+json', "$c->[0]: with a problem document, no HTML")
            or diag(substr $a->body, 0, 200);
    }
    # a body that never comes whole
    my $cut = $http->with;
    my $s = $cut->open_socket;
    syswrite $s, $line . $json . $key->() . "Content-Length: 1000\r\n\r\n{\"title\":\"half";
    CORE::close($s);
    ok($http->get('/healthz')->status == 200, 'a client that leaves in the middle of its body disturbs nobody');
    # two requests in one write: both answered, in order
    my $p = $http->with;
    my $two = $p->render(GET => "/case/$id") . $p->render(GET => '/healthz');
    my $first = $p->raw($two);
    is($first->json->{case_id}, $id, 'of two requests in one write the first is answered first');
});

subtest 'texts that look dangerous are texts' => sub {
    my @texts = ("'; DROP TABLE ops_case; --", '${jndi:ldap://x}', '<script>alert(1)</script>', '$(reboot)', '`id`', '../../etc/passwd',
        '{{7*7}}', "a\tb\nc", '%s%n%x', "\x{202e}gnp", "\x{1F468}\x{200D}\x{1F469}", 'NULL', '\\', '"', "' OR 1=1 --", 'a,b}{"c', '\\x00',
        'null', "\x{feff}x");
    for my $t (@texts) {
        my $c = Aegis::Case->create($http, mode => 'manual', title => $t, reason => $t, labels => { x => $t }, correlation_id => 'c');
        my $j = $c->get->json;
        is_deeply([ @$j{qw(title reason)}, $j->{labels}{x} ], [$t, $t, $t], 'kept as it is: ' . ($t =~ s/[^\x20-\x7e]/./gr));
        my $p = $c->must('force_park', reason => $t, meta => { t => $t });
        is(($c->timeline)[1]{reason}, $t, '  on the timeline too');
    }
};

is($case->get->json->{version}, 2, 'the case of all these requests is where it was');
$stack->finish(allow => [qr/client sent|client prematurely closed/]);
done_testing;
