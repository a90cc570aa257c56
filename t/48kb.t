# 48kb.t: the knowledge base: documents in four formats from bodies, files and URLs,
# their versions, what is found in two languages and under filters, what a planner
# quotes of it, cases that become documents, an embedder that changes while searches
# go on, and input that means harm. Rankings are measured by
# t/bench/kb.pl.
use v5.36;
use utf8;
use lib 't/lib';
use Encode ();
use IO::Socket::INET;
use POSIX ();
use Test::More;
use Aegis::Case;
use Aegis::Stack;
use Aegis::Test;

my $stack = Aegis::Stack->shared;
my $http = $stack->http;
my $pg = $stack->pg;
my $run = substr Aegis::Test::random_hex(8), 0, 8;

sub bytes ($s) { return Encode::encode_utf8($s) }
sub esc ($s) { return bytes($s) =~ s/([^A-Za-z0-9_.~-])/sprintf '%%%02X', ord $1/ger }
sub search ($q, %more) {
    return $http->get('/kb/search?q=' . esc($q) . join '', map { "&$_=" . esc($more{$_}) } sort keys %more);
}
sub items ($q, %more) { return @{ search($q, %more)->json->{items} // [] } }
sub ready ($doc, $state = 'READY') {
    return wait_for("document $doc to be $state", 20, sub {
        my $d = $http->get("/kb/doc/$doc")->json;
        return $d->{state} eq $state ? $d : undef;
    }) // {};
}
sub put (%doc) {
    my $r = $http->write('POST', '/kb/ingest', \%doc);
    return $r->json->{doc_id};
}

# --- a server of documents, and one that speaks /v1/embeddings
my $port = free_port();
my $asked = spew(scratch('kb') . '/asked', '');
my $server = fork // die "fork: $!";
if (!$server) {
    setpgrp 0, 0;
    $SIG{CHLD} = 'IGNORE';
    my $l = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port, Listen => 64, ReuseAddr => 1) or POSIX::_exit(1);
    while (1) {
        my $c = $l->accept or next;
        next if fork;
        my ($head, $body) = ('', '');
        while ($head !~ /\r\n\r\n/) { sysread($c, $head, 4096, length $head) or POSIX::_exit(0) }
        ($head, $body) = split /\r\n\r\n/, $head, 2;
        my ($len) = $head =~ /^content-length: (\d+)/mi;
        while (length $body < ($len // 0)) { sysread($c, $body, 65536, length $body) or last }
        my ($path) = $head =~ m{^\S+ (\S+)};
        open my $f, '>>', $asked;
        print $f "$path\n";
        close $f;
        my $say = sub ($status, $type, $text) {
            print $c join "\r\n", "HTTP/1.1 $status x", "Content-Type: $type", 'Content-Length: ' . length $text, 'Connection: close', '', $text;
        };
        if ($path =~ m{/v1/embeddings$}) {
            # a toy: how often each letter is there
            my $in = json_decode($body);
            my @v = map { my @n = (0.01) x 32; $n[ord($_) % 32]++ for split //, $_; \@n } @{ $in->{input} };
            $say->(200, 'application/json', json_encode({ data => [ map { { index => $_, embedding => $v[$_] } } 0 .. $#v ] }));
        }
        elsif ($path =~ m{^/page}) { $say->(200, 'text/html', "<html><head><title>Flux capacitor $path</title></head><body><h2>Charge</h2><p>It takes 1.21 gigawatts.</p><script>never_seen()</script></body></html>") }
        elsif ($path =~ m{^/pdf}) { $say->(200, 'application/pdf', '%PDF-1.4') }
        elsif ($path =~ m{^/redirect}) { print $c "HTTP/1.1 302 x\r\nLocation: http://127.0.0.1:$port/page\r\nContent-Length: 0\r\n\r\n" }
        elsif ($path =~ m{^/big}) { print $c "HTTP/1.1 200 x\r\nContent-Type: text/plain\r\n\r\n"; print $c 'x' x 65536 while getppid > 1 && $c->connected }
        elsif ($path =~ m{^/bytes}) { $say->(200, 'text/plain', "caf\xe9 au lait\0with bytes that are no text") }
        else { $say->(404, 'text/plain', 'no') }
        POSIX::_exit(0);
    }
}
Aegis::Test::at_end(sub { kill 'KILL', -$server });
my $undo = $stack->conf_edit('aegis.yaml', sub ($y) { "$y\nkb:\n  allow: \"http://127.0.0.1:$port\"\n  allow_private: \"127.0.0.1/32\"\n" }, 'librarian');
Aegis::Test::at_end($undo);

# --- the example base, by the command
my $env = { %ENV, map { $_ => $stack->e($_) } qw(AEGIS_URL AEGIS_CA AEGIS_TOKEN) };
sub ctl (@argv) { return run([build_dir . '/aegisctl', @argv], env => $env, timeout => 60) }
my $in = ctl('kb', 'ingest', root . '/conf/kb', '--category', 'runbook', '--tag', "t$run", '--wait', 30);
is($in->{rc}, 0, 'aegisctl kb ingest puts a folder in') or diag($in->{err});
like($in->{err}, qr/16 of 16 documents, \d+ new, \d+ there already, 0 failed/, 'and says how far it is');
$in = ctl('kb', 'ingest', root . '/conf/kb', '--category', 'runbook', '--tag', "t$run", '-o', 'json');
is_deeply(json_decode($in->{out}), { stored => 0, same => 16, failed => 0 }, 'the same again is there already');
wait_for('all to be read', 20, sub { $pg->one("SELECT count(*) FROM aegis.kb_doc WHERE state <> 'READY' AND tenant = 'default'") == 0 });

# 5 s are promised; a machine on which everything else is tested meanwhile has thrice as long
my $searchable = $pg->one(q{SELECT max(extract(epoch FROM pg_xact_commit_timestamp(d.xmin) - v.created_at)) FROM aegis.kb_doc d
    JOIN aegis.kb_version v ON v.tenant = d.tenant AND v.doc_id = d.doc_id AND v.version = d.ready_version
    WHERE d.tenant = 'default' AND d.source ~ '^(en|zh)/'});
cmp_ok($searchable // 'inf', '<=', 15, sprintf('all were to be found %.1f s after they were put in, at the latest', $searchable // -1));

for my $q (['checkout is slow', 'en/checkout-slow.md'], ['结算很慢', 'zh/checkout-slow.md'], ['too many connections to postgres', 'en/database-connections.md'],
    ['Redis 内存不足', 'zh/redis-memory.md'], ['磁盘满了怎么办', 'zh/disk-full.md'], ['certificate expired', 'en/certificate-expired.md'],
    ['发布之后错误率变高', 'zh/error-rate-after-deploy.md'], ['consumer lag', 'en/kafka-lag.md'], ['CrashLoopBackOff', 'en/pod-crashloop.md']) {
    my ($first) = items($q->[0], topk => 3, filter => 'category:runbook');
    is($first->{source}, $q->[1], bytes "'$q->[0]' finds $q->[1]") or diag(explain($first));
}
my ($hit) = items('checkout is slow', topk => 1, filter => 'category:runbook');
my $whole = $http->get("/kb/doc/$hit->{doc_id}")->json;
like(substr(bytes($whole->{body}), $hit->{from}, $hit->{to} - $hit->{from}), qr/\Q@{[ substr bytes($hit->{text}), 0, 60 ]}\E/, 'its place leads to its bytes');
is($hit->{locator}, "kb:$hit->{doc_id}\@$hit->{version}#$hit->{chunk}", 'its locator names them');
cmp_ok($hit->{score}, '>', 0, 'it has a score');

# --- make pgvector-test: the same with pgvector, whose index the base was begun with
if ($ENV{AEGIS_PG_BIN}) {
    is($pg->one(q{SELECT count(*) FROM pg_extension WHERE extname = 'vector'}), 1, 'pgvector is there');
    cmp_ok($pg->one(q{SELECT count(*) FROM pg_indexes WHERE indexname LIKE 'kb_vector_hnsw_%'}), '>=', 1, 'and its index was made');
}

# --- filters: as many as there are, and no other
my @zh = items('内存', topk => 50, filter => 'lang:zh,category:runbook');
is((grep { $_->{lang} ne 'zh' } @zh), 0, 'a filter lets nothing else in');
my $n_zh = $pg->one("SELECT sum(chunks) FROM aegis.kb_doc WHERE tenant = 'default' AND lang = 'zh' AND category = 'runbook'");
is(scalar @zh, $n_zh < 50 ? $n_zh : 50, 'and there are as many as fit');
is(scalar items('zzzz qqqq', topk => 5, filter => 'lang:zh,category:runbook'), 5, 'a question that nothing answers gets as many as well');
is(scalar items('内存', topk => 5, filter => "tag:t$run,lang:en,source:en/disk-full.md"), 4, 'all parts of a filter hold: one document has four passages');
is(scalar items('内存', filter => 'tag:nobody-has-this'), 0, 'nothing fits, nothing is found');

# --- a filter that more fit than are compared one by one, while all that is near does not fit it
if ($ENV{AEGIS_PG_BIN}) {
    my $body = sub ($words, $doc) { join "\n\n", map { my $n = $_; "## Part $n of $doc\n\n" . join ' ', map { "$words " . ($n * 31 + $_ * 7) } 1 .. 30 } 1 .. 200 };
    my @docs = map { my $d = $_; map { put(source => "far/$run/$_/$d", tags => ["half-$_"], body => $body->($_ eq 'near' ? 'flywheel gearbox torque' : 'unrelated meadow otter', $d)) } qw(near far) } 1 .. 12;
    ready($_) for @docs;
    cmp_ok($pg->one('SELECT sum(chunks) FROM aegis.kb_doc WHERE source LIKE ?', "far/$run/$_/%"), '>', 2000, "many passages are $_") for qw(near far);
    $pg->do('ANALYZE aegis.kb_chunk');
    $pg->do('ANALYZE aegis.kb_vector');
    for my $half (qw(near far)) {
        my @got = items('flywheel gearbox torque', topk => 50, filter => "tag:half-$half");
        is(scalar @got, 50, "fifty of what is $half are found");
        is((grep { $_->{source} !~ m{^far/$run/$half/} } @got), 0, 'and no other');
        is(scalar items('qqqq zzzz', topk => 50, filter => "tag:half-$half"), 50, 'by a question of nothing too');
    }
    $http->write('DELETE', "/kb/doc/$_", undef) for @docs;
}

# --- versions
my $word = "zyx$run";
my $doc = put(source => "t/$run", body => "# Versions\n\nThe first says ${word}one.\n");
ready($doc);
is((items("${word}one", topk => 1))[0]{doc_id}, $doc, 'a document is found');
my $r = $http->write('POST', '/kb/ingest', { source => "t/$run", body => "# Versions\n\nThe first says ${word}one.\n" });
is($r->status . $r->json->{version}, '2001', 'the same text is no new version');
$r = $http->write('POST', '/kb/ingest', { source => "t/$run", body => "# Versions\n\nThe second says ${word}two.\n" });
is($r->status . $r->json->{version}, '2022', 'another one is');
is($r->header('location'), "/kb/doc/$doc", 'of the same document');
my $d = wait_for('the second version', 20, sub { my $d = $http->get("/kb/doc/$doc")->json; $d->{ready_version} == 2 ? $d : undef });
is_deeply([ map { $_->{version} } @{ $d->{versions} } ], [2, 1], 'both are kept');
like($d->{body}, qr/two/, 'the newest is shown');
is((items("${word}two", topk => 1))[0]{doc_id}, $doc, 'the second is found');
is((grep { $_->{text} =~ /one/ && $_->{doc_id} eq $doc } items("${word}one", topk => 50)), 0, 'the first is not');
my $key = new_key();
ok($http->write("DELETE", "/kb/doc/$doc", undef, key => $key)->json->{deleted}, 'it is deleted');
is((grep { $_->{doc_id} eq $doc } items("${word}two", topk => 50)), 0, 'and not found');
is($http->get("/kb/doc/$doc")->status, 404, 'nor read');
ok($http->write('DELETE', "/kb/doc/$doc", undef, key => $key)->header('idempotent-replayed'), 'asked again, the answer is the same');
is($pg->one('SELECT count(*) FROM aegis.kb_term WHERE term = ? AND n <> 0', "${word}two"), 0, 'nothing of its words is counted');

# --- formats
my %form = (
    html => ["<h1>Warp $run</h1><p>Core &amp; coil</p><style>p{}</style><h2>Breach</h2><p>Eject the $word&#x65e5; core</p>", qr/^Eject the ${word}日 core$/, "Warp $run > Breach"],
    text => ["Warp $run\n\nEject the $word core.\n", qr/Eject the $word core/, ''],
    json => [json_encode({ title => "Warp $run", steps => [{ do => "Eject the $word core" }, { do => 'run' }] }), qr/steps\.do: Eject the $word core/, ''],
    markdown => ["---\ntitle: Warp $run\n---\nIntro\n\nBreach\n======\n\n```\n# Eject the $word core\n```\n", qr/# Eject the $word core/, 'Breach'],
);
for my $f (sort keys %form) {
    my $id = put(source => "t/$run.$f", format => $f, body => $form{$f}[0]);
    my $got = ready($id);
    is($got->{title}, "Warp $run", "$f: its title");
    my ($hit) = grep { $_->{doc_id} eq $id && $_->{text} =~ /$word/ } items("$word eject core", topk => 50, filter => "source:t/$run.$f");
    like($hit->{text}, $form{$f}[1], "$f: its text");
    is($hit->{heading}, $form{$f}[2], "$f: where it stands");
}

# --- URLs, and whom they may not lead to
my $page = put(url => "http://127.0.0.1:$port/page-$run");
$d = ready($page);
is($d->{format} . " $d->{title}", "html Flux capacitor /page-$run", 'a page is fetched, and it is HTML');
like((items('gigawatts', topk => 1, filter => "source:http://127.0.0.1:$port/page-$run"))[0]{text} // '', qr/1\.21 gigawatts/, 'and found') or diag explain [items('gigawatts')];
is($http->write('POST', '/kb/ingest', { url => "http://127.0.0.1:$port/page-$run" })->status, 202, 'a URL may be fetched again');
$d = ready($page);
is($d->{version}, 1, 'what is still the same is no new version');
my $odd = put(url => "http://127.0.0.1:$port/bytes-$run");
like(ready($odd)->{body}, qr/^caf\x{fffd} au lait\x{fffd}with/, 'bytes that are no text do no harm');
for my $bad (["http://127.0.0.1:$port/pdf", qr/application\/pdf/], ["http://127.0.0.1:$port/big", qr/too large/], ["http://127.0.0.1:$port/gone", qr/404/],
    ["http://127.0.0.1:$port/redirect", qr/302/], ["http://127.0.0.1:1/", qr/kb\.allow does not allow/],
    ['http:/' . '/169.254.169.254/latest', qr/kb\.allow does not allow/], ['file:///etc/passwd', qr/kb\.allow|not a URL/], ['gopher://x/', qr/kb\.allow|not a URL/]) {
    my $id = put(url => "$bad->[0]", source => "bad/$run/$bad->[0]");
    like(ready($id, 'FAILED')->{error} // '', $bad->[1], "$bad->[0] is refused, and the document says so");
}
{
    my $tight = $stack->conf_edit('aegis.yaml', sub ($y) { $y =~ s/  allow_private: "127.0.0.1\/32"\n//r }, 'librarian');
    my $id = put(url => "http://127.0.0.1:$port/page", source => "inside/$run");
    like(ready($id, 'FAILED')->{error} // '', qr/127\.0\.0\.1 is a loopback address/, 'an address inside is refused though its host is listed');
    $tight->();
}

# --- the planner
my $case = Aegis::Case->create($http, title => "Checkout answers slowly $run", mode => 'manual', labels => { service => 'checkout' });
$case->drive('ANALYZING');
my $plan = $case->post('/plan/generate')->json->{plan};
like($plan->{notes}, qr/From the knowledge base:\n\[1\] .+ \(kb:[0-9a-f-]{36}\@\d+#\d+\): /, 'a plan quotes a passage, with its locator');
my ($cited) = $plan->{notes} =~ /\(kb:([0-9a-f-]{36})@/;
like($http->get("/kb/doc/$cited")->json->{source} // '', qr/checkout-slow|case\//, 'of the runbook for it');
like($plan->{rollback_notes} // '', qr/kb:.*capture_async|capture_async/, 'and says how to go back');
ok((grep { $_->{kind} eq 'passage' && $_->{id} =~ /^kb:/ } @{ $plan->{evidence} }), 'the passage is evidence of the plan');
my $odd_case = Aegis::Case->create($http, title => "qwzx vbnm plmk", mode => 'manual');
$odd_case->drive('ANALYZING');
unlike($odd_case->post('/plan/generate')->json->{plan}{notes} // '', qr/knowledge base/, 'what has to do with nothing quotes nothing');
my $auto = Aegis::Case->create($http, title => "Redis is out of memory $run", labels => { service => 'cache' });
$auto->wait_state('CLOSED');
my $auto_plan = $http->get('/plan/' . $auto->get->json->{plan_id})->json->{plan};
like($auto_plan->{notes}, qr/kb:/, 'the planner by itself quotes as well');
cmp_ok($stack->metric('planner', 'aegis_knowledge_lookups_total', qr/hit/) // 0, '>=', 1, 'look-ups that found something are counted');
cmp_ok($stack->metric('planner', 'aegis_knowledge_citations_total') // 0, '>=', 1, 'so are quotations');

# --- a case that was closed
my $story = wait_for('the closed case to become a document', 20, sub {
    my $id = $pg->one("SELECT doc_id FROM aegis.kb_doc WHERE category = 'case' AND title = ? AND state = 'READY'", "Redis is out of memory $run");
    $id ? $http->get("/kb/doc/$id")->json : undef;
});
like($story->{body}, qr/## Seen.*## Done.*\(echo.*## Verified.*## Rollback/s, 'it says what was seen, done and verified');
is((items("out of memory $run", topk => 1, filter => 'category:case'))[0]{doc_id}, $story->{doc_id}, 'and is found');

# --- another embedder: searches go on, and then it is used
my $active = sub { $pg->one("SELECT name FROM aegis.kb_embedder WHERE state = 'ACTIVE'") };
is($active->(), 'builtin/1', 'vectors are the built-in ones');
my $other = $stack->conf_edit('aegis.yaml', sub ($y) { $y =~ s/^kb:\n/kb:\n  embedder: http\n  embed:\n    url: "http:\/\/127.0.0.1:$port\/v1\/embeddings"\n    model: letters-$run\n/mr }, 'librarian');
my ($asked_n, $empty) = (0, 0);
wait_for('the new embedder to be active', 60, sub {
    my $r = search('checkout is slow', topk => 3);
    $asked_n++;
    $empty++ if $r->status != 200 || @{ $r->json->{items} } < 3;
    return $active->() eq "http:letters-$run";
});
is($empty, 0, "none of $asked_n searches was without an answer meanwhile");
$r = search('checkout is slow', topk => 3);
is($r->json->{embedder}, "http:letters-$run", 'passages have its vectors');
ok($r->json->{vector}, 'and the question was given one by the librarian');
cmp_ok((grep { defined $_->{vector_rank} } @{ $r->json->{items} }), '>=', 1, 'so that they are compared');
my $late = put(source => "late/$run", body => "# Late\n\nIt came after ${word}late.\n");
ready($late);
is($pg->one("SELECT count(*) FROM aegis.kb_vector v JOIN aegis.kb_chunk c USING (chunk_id) JOIN aegis.kb_embedder e USING (embedder_id) WHERE c.doc_id = ? AND e.state = 'ACTIVE'", $late), 1,
    'a new document gets them at once');
wait_for('the old vectors to be forgotten', 30, sub { $pg->one("SELECT count(*) FROM aegis.kb_vector v JOIN aegis.kb_embedder e USING (embedder_id) WHERE e.state = 'RETIRED'") == 0 });
$other->();
wait_for('the built-in one to be back', 60, sub { $active->() eq 'builtin/1' });
is((items("${word}late", topk => 1))[0]{doc_id}, $late, 'all is found again');

# --- a word that most of many passages have: the newest are looked at, rarer words count as ever
{
    my $d = $pg->dbh;
    $d->begin_work;
    $d->do(q{INSERT INTO aegis.kb_doc (tenant, doc_id, source, format, ready_version, chunks, state, created_by, created_at)
        SELECT 't-most', gen_random_uuid(), 'most/' || i, 'text', 1, 1, 'READY', 't', now() - make_interval(secs => 1000 - i) FROM generate_series(1, 700) i});
    $d->do(q{INSERT INTO aegis.kb_chunk (tenant, doc_id, version, chunk_no, b_from, b_to, heading, body, heads, tsv)
        SELECT d.tenant, d.doc_id, 1, 1, 0, 1, '', '', '', array_to_tsvector('{zeta,tenant=t-most}'::text[]
               || CASE d.source WHEN 'most/3' THEN '{rare}' WHEN 'most/5' THEN '{lang=xx}' ELSE '{}' END::text[])
          FROM aegis.kb_doc d WHERE d.tenant = 't-most' ORDER BY d.created_at});
    $d->do(q{INSERT INTO aegis.kb_term VALUES ('t-most', 'zeta', 700), ('t-most', 'rare', 1)});
    $d->do(q{INSERT INTO aegis.kb_tenant VALUES ('t-most', 700, 1401)});
    $d->do(q{SELECT aegis.act_for(ARRAY['t-most'])});
    my $find = sub ($terms, @facets) {
        my $probe = json_encode({ text => $terms, terms => $terms, facets => [@facets], probes => [] });
        return @{ $d->selectcol_arrayref(q{SELECT split_part(d.source, '/', 2)::int FROM aegis.kb_find('t-most', ?, 8) f
            JOIN aegis.kb_chunk c USING (chunk_id) JOIN aegis.kb_doc d USING (tenant, doc_id) ORDER BY f.score DESC, f.chunk_id}, {}, $probe) };
    };
    my @most = $find->('zeta');
    is(scalar(grep { $_ > 700 - 64 } @most), 8, "a word of all passages: of the newest 64 (@most)");
    is_deeply([ ($find->('zeta rare'))[0], scalar $find->('zeta rare') ], [3, 8], 'with a rare one: its passage first, others fill up');
    is(($find->('zeta', 'lang=xx'))[0], 5, 'a filter finds what is old as well');
    $d->do(q{INSERT INTO aegis.kb_doc (tenant, doc_id, source, format, created_by) SELECT 't-most', gen_random_uuid(), 'unread/' || i, 'text', 't' FROM generate_series(1, 300) i});
    is(scalar(my @unread = $find->('zeta')), 8, 'the newest 300 are not read yet: older ones are found');
    $d->rollback;
}

# --- input that means harm
for my $q (['/kb/search', qr/q is required/], ['/kb/search?q=', qr/no valid value/], ['/kb/search?q=x&topk=0', qr/1 to 50/], ['/kb/search?q=x&topk=51', qr/1 to 50/],
    ['/kb/search?q=x&filter=colour:red', qr/filter has colour:red/], ['/kb/search?q=x&filter=tag:', qr/filter has tag:/], ['/kb/search?q=x&q=y', qr/twice/],
    ['/kb/search?q=' . 'x' x 1025, qr/longer than 1024/], ['/kb/search?q=%ff', qr/no valid value/], ['/kb/search?q=x&limit=3', qr/not known/],
    ['/kb/search?q=x&filter=' . join(',', map { "tag:t$_" } 1 .. 17), qr/more than 16/]) {
    my $r = $http->get($q->[0]);
    is($r->status, 400, substr($q->[0], 0, 50) . ' is refused');
    like($r->json->{detail}, $q->[1], 'and says why');
}
for my $q ("'; DROP TABLE aegis.kb_doc; --", '& | ! ( ) <->', "\\'\\", '%00'x0 . "a'b\"c", '表' x 300, 'a ' x 500, '😀😀') {
    is(search($q)->status, 200, bytes 'it is a question like others: ' . substr $q, 0, 20);
}
for my $b (["<" x 199_000, 'html'], ["<script>" x 25_000, 'html'], ["&#x" x 60_000, 'html'], ['#' x 190_000, 'markdown'], ["```\n" x 45_000, 'markdown'],
    ["a\n===\n" x 25_000, 'markdown'], ["\n" x 120_000, 'text'], ['[' x 31 . '1' . ']' x 31, 'json'], ['x' x 199_000, 'text'], ["\x{4e00}" x 80_000, 'text']) {
    my $id = put(source => 'harm/' . Aegis::Test::random_hex(8), format => $b->[1], body => $b->[0]);
    my $end = wait_for('it to be judged', 60, sub { my $d = $http->get("/kb/doc/$id")->json; $d->{state} ne 'QUEUED' ? $d : undef });
    like($end->{state}, qr/^(READY|FAILED)$/, "$b->[1] of " . length($b->[0]) . " characters ends: $end->{state} $end->{error}");
}
my ($rss) = slurp('/proc/' . $stack->pid('librarian') . '/status') =~ /^VmRSS:\s+(\d+)/m;
cmp_ok($rss, '<', is_san ? 2_000_000 : 200_000, "the librarian's memory stays flat: $rss kB");

$pg->one("SELECT count(*) FROM aegis.kb_doc") and $stack->quiet;
$stack->finish;
done_testing;
