# kb.pl: `make bench-kb`: the knowledge base on an installation of its own. First how
# good rankings are: questions made from the example base (words of a passage, titles
# with typing errors, headings), recall@5 and nDCG@10 of the answer against full text
# alone, which is the same answer ordered by text_rank. Then the same and how fast searches
# are over PASSAGES (100 000) synthetic passages, by 1, 2 and 4 clients, over TLS. QUIET is
# a command that the last measurement is run by. Writes run/bench-kb.json.
use v5.36;
use utf8;
use lib 't/lib';
use Encode ();
use File::Path 'make_path';
use POSIX ();
use Time::HiRes 'time';
use Aegis::Stack;
use Aegis::Test;

$| = 1;
my $PASSAGES = $ENV{PASSAGES} || 100_000;
my $QUERIES = $ENV{QUERIES} || 1000;

sub bytes ($s) { return Encode::encode_utf8($s) }
sub esc ($s) { return bytes($s) =~ s/([^A-Za-z0-9_.~-])/sprintf '%%%02X', ord $1/ger }

# --- the second half: only searches, in a process of its own
if (($ARGV[0] // '') eq 'measure') {
    my $stack = Aegis::Stack->existing or die "no installation\n";
    my @q = map { Encode::decode_utf8($_) } split /\n/, slurp($ARGV[1]);
    my @out;
    for my $clients (1, 2, 4) {
        my @pipes;
        for my $i (0 .. $clients - 1) {
            pipe my $in, my $out or die "pipe: $!";
            my $pid = fork // die "fork: $!";
            if (!$pid) {
                my $http = $stack->http;
                my @ms;
                for my $k (grep { $_ % $clients == $i } 0 .. $#q) {
                    my $t0 = time;
                    my $r = $http->get('/kb/search?topk=8&q=' . esc($q[$k]));
                    push @ms, (time - $t0) * 1000;
                    die $r->brief unless $r->status == 200 && @{ $r->json->{items} } == 8;
                }
                print $out join ' ', @ms;
                close $out;
                POSIX::_exit(0);
            }
            close $out;
            push @pipes, $in;
        }
        my $t0 = time;
        my @ms = sort { $a <=> $b } map { split ' ', join '', readline $_ } @pipes;
        my $took = time - $t0;
        wait for 1 .. $clients;
        die "a client failed\n" unless @ms == @q;
        push @out, { clients => $clients, n => scalar @ms, per_s => @ms / $took, p50 => $ms[@ms * 0.5], p95 => $ms[@ms * 0.95],
            p99 => $ms[@ms * 0.99], max => $ms[-1] };
        printf "searches, %d clients: %d, %.0f/s, p50 %.1f ms, p95 %.1f ms, p99 %.1f ms, max %.1f ms\n",
            @{ $out[-1] }{qw(clients n per_s p50 p95 p99 max)};
    }
    spew($ARGV[2], json_encode(\@out));
    exit 0;
}

my $stack = Aegis::Stack->own('bench-kb', durable => 1, env => { ROLES => 'librarian' });
my ($http, $pg) = ($stack->http, $stack->pg);
srand 20260; # the same questions and the same text in every run

sub put (%doc) {
    my $r = $http->write('POST', '/kb/ingest', \%doc);
    $r->status == 202 or die $r->brief;
    return $r->json->{doc_id};
}
sub all_read () {
    wait_for('all documents to be read', 1200, sub { $pg->one("SELECT count(*) FROM aegis.kb_doc WHERE state = 'QUEUED'") == 0 }) or die;
    die "a document failed\n" if $pg->one("SELECT count(*) FROM aegis.kb_doc WHERE state = 'FAILED'");
}

# --- how good: every question knows the passage that it was made of
my @base = map { [$_, m{/(zh|en)/}] } sort glob root . '/conf/kb/{en,zh}/*.md';
put(source => $_->[0] =~ s{.*/kb/}{}r, lang => $_->[1], category => 'runbook', body => Encode::decode_utf8(slurp($_->[0]))) for @base;
all_read();
my @passages = @{ $pg->dbh->selectall_arrayref('SELECT c.doc_id, c.chunk_no, d.title, c.heading, c.body, d.lang FROM aegis.kb_chunk c JOIN aegis.kb_doc d USING (tenant, doc_id) ORDER BY d.source, c.chunk_no') };
$_ = [ map { utf8::is_utf8($_) ? $_ : Encode::decode_utf8($_) } @$_ ] for @passages;

sub typo ($w) {
    return $w if length $w < 5 || $w !~ /^\w+$/;
    my $i = 1 + int rand(length($w) - 3);
    return substr($w, 0, $i) . substr($w, $i + 1, 1) . substr($w, $i, 1) . substr $w, $i + 2;
}
my @kinds = (
    ['words of the passage' => sub ($p) {
        return join ' ', map { my $c = $p->[4] =~ s/\s+//gr; substr $c, rand(length($c) - 8), 6 } 1 .. 2 if $p->[5] eq 'zh';
        my @w = grep { /^[a-z]{4,}$/ } split /[^A-Za-z]+/, $p->[4];
        return join ' ', map { $w[rand @w] // () } 1 .. 4;
    }],
    ['words with typing errors' => sub ($p) {
        return join '', map { my $c = $p->[4] =~ s/\s+//gr; my $s = substr $c, rand(length($c) - 9), 8; substr($s, 3, 1) = '的'; $s } 1 if $p->[5] eq 'zh';
        my @w = grep { /^[a-z]{5,}$/ } split /[^A-Za-z]+/, $p->[4];
        return join ' ', map { typo($w[rand @w] // 'none') } 1 .. 3;
    }],
    ['title and heading' => sub ($p) { return join ' ', $p->[2], (split / > /, $p->[3])[-1] }],
);
my %quality;

# Questions that one of @kinds makes of passages: is the passage among the first ones? Others of
# its document are of use too, if all of them are among the passages.
sub quality ($kind, $whole, @passages) {
    my ($name, $make) = @$kind;
    my (%sum, $n);
    for my $p (@passages) {
        my $q = $make->($p);
        next if $q !~ /\S/;
        $n++;
        my @items = @{ $http->get('/kb/search?topk=50&q=' . esc($q))->json->{items} };
        my %order = (hybrid => \@items, text => [ sort { $a->{text_rank} <=> $b->{text_rank} } grep { defined $_->{text_rank} } @items ],
            vector => [ sort { $a->{vector_rank} <=> $b->{vector_rank} } grep { defined $_->{vector_rank} } @items ]);
        for my $o (keys %order) {
            my @gain = map { $_->{doc_id} eq $p->[0] ? ($_->{chunk} == $p->[1] ? 3 : $whole) : 0 } grep { defined } @{ $order{$o} }[0 .. 9];
            my @best = sort { $b <=> $a } (3, (1) x ($whole * ((grep { $_->[0] eq $p->[0] } @passages) - 1)));
            my $dcg = sub (@g) { my $s = 0; $s += $g[$_] / (log($_ + 2) / log 2) for 0 .. ($#g < 9 ? $#g : 9); return $s };
            $sum{$o}{recall} += (grep { $_ == 3 } @gain[0 .. (@gain < 5 ? $#gain : 4)]) ? 1 : 0;
            $sum{$o}{ndcg} += $dcg->(@gain) / $dcg->(@best);
        }
    }
    $name .= ' among many' unless $whole;
    $quality{$name} = { n => $n, map { my $o = $_; ($o => { map { ($_ => $sum{$o}{$_} / $n) } qw(recall ndcg) }) } keys %sum };
    printf "%-37s n %3d   recall\@5 hybrid %.3f text %.3f vectors %.3f   nDCG\@10 hybrid %.3f text %.3f vectors %.3f\n", $name, $n,
        (map { $quality{$name}{$_}{recall} } qw(hybrid text vector)), map { $quality{$name}{$_}{ndcg} } qw(hybrid text vector);
}
quality($_, 1, @passages) for @kinds;

# --- how fast: rows of t/tools/kb_text.c, put in as SQL, which is quicker than one by one
my $tool = build_dir . '/t/tools/kb_text';
my $t0 = time;
$pg->dbh->do('CREATE UNLOGGED TABLE aegis.t_kb (doc int, n int, heading text, body text, heads text, terms text, signs text, v text)');
my $url = $stack->e('DATABASE_ADMIN_URL');
my $docs = int($PASSAGES / 40 + 0.99);
system('bash', '-o', 'pipefail', '-c', '"$0" rows "$1" 40 | psql -XAtq -v ON_ERROR_STOP=1 -c "COPY aegis.t_kb FROM STDIN" "$2"', $tool, $docs, $url) == 0 or die "no rows\n";
run_ok(['psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-f', root . '/t/bench/sql/kb.sql', $url], timeout => 1800);
my $n = $pg->one('SELECT sum(chunks) FROM aegis.kb_tenant');
$pg->dbh->do("VACUUM ANALYZE aegis.$_") for qw(kb_chunk kb_vector kb_term kb_doc);
printf "%d passages filled in in %.0f s\n", $n, my $fill = time - $t0;
my $step = POSIX::ceil($n / 600);
my $many = $pg->dbh->selectall_arrayref("SELECT c.doc_id, c.chunk_no, d.title, c.heading, c.body, d.lang FROM aegis.kb_chunk c JOIN aegis.kb_doc d USING (tenant, doc_id)
    WHERE d.category = 'synthetic' AND c.chunk_id % ? = 0 ORDER BY c.chunk_id", undef, $step);
quality($_, 0, @$many) for @kinds[0, 1];
my $dir = scratch('kb-bench');
spew("$dir/q", run_ok([$tool, 'questions', $QUERIES]));
local $ENV{AEGIS_T_RUN} = $stack->{base};
my $rc = system split(' ', $ENV{QUIET} // ''), $^X, '-It/lib', $0, 'measure', "$dir/q", "$dir/out";
die "the measurement failed\n" if $rc;
make_path(root . '/run');
spew(root . '/run/bench-kb.json', json_encode({ passages => $n, fill_s => $fill, quality => \%quality, searches => json_decode(slurp("$dir/out")) }));
