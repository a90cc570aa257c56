# 32planner.t: the planner over a whole installation: bodies in YAML under limits.
use v5.36;
use lib 't/lib';
use Test::More;
use Aegis::Case;
use Aegis::Stack;
use Aegis::Test;

my $stack = Aegis::Stack->shared;
my $http = $stack->http;
my $pg = $stack->pg;

sub yaml ($text, %req) {
    return $http->write('POST', '/plan/generate', $text, %req, headers => ['Content-Type', $req{type} // 'application/yaml']);
}

subtest 'a plan in YAML' => sub {
    my $case = Aegis::Case->create($http, mode => 'manual', title => 'by hand');
    my $id = $case->id;
    my $text = <<~"YAML";
        # a person writes comments
        case_id: $id
        plan:
          title: Restart checkout
          risk_score: 0.25
          steps:
            - {action: echo, name: say, params: {message: "one\\ntwo"}, timeout_s: 60, retry_safe: true}
          rollback:
            - action: echo
          verify:
            - kind: exec
        YAML
    my $r = yaml($text, key => (my $key = new_key()));
    is($r->status, 201, 'is taken') or diag($r->brief);
    ok($r->json->{complete}, 'and complete');
    my $json = $case->post('/plan/generate', plan => { title => 'Restart checkout', risk_score => 0.25, rollback => [{ action => 'echo' }],
        steps => [{ action => 'echo', name => 'say', params => { message => "one\ntwo" }, timeout_s => 60, retry_safe => \1 }], verify => [{ kind => 'exec' }] });
    is($json->json->{hash}, $r->json->{hash}, 'the same in JSON is the same plan');
    is_deeply([$json->json->{revision}, $r->json->{revision}], [2, 1], 'revisions count');
    is(yaml($text, key => $key)->header('idempotent-replayed'), 'true', 'a retry is answered again');
    is(yaml($text =~ s/60/61/r, key => $key)->problem, 'idempotency-key-reused', 'another text under the same key is not');
    is(yaml($text, type => 'Application/YAML; charset=UTF-8')->status, 201, 'the media type is written as one likes');

    my $bad = yaml($text =~ s/echo, name: say/echo, name: [1]/r);
    is($bad->problem, 'schema-violation', 'what does not fit is refused as in JSON');
    is($bad->json->{errors}[0]{pointer}, '/plan/steps/0/name', 'with a JSON pointer');
    is(yaml($text =~ s/timeout_s: 60/timeout_s: '60'/r)->json->{errors}[0]{pointer}, '/plan/steps/0/timeout_s', 'quotes make a string');
};

subtest 'YAML that is refused' => sub {
    my $before = $pg->one('SELECT count(*) FROM aegis.plan_proposed');
    my $lol = "a: &a [x,x,x,x,x,x,x,x,x]\n" . join '', map { my $p = chr(ord('a') + $_ - 1); chr(ord('a') + $_) . ": &" . chr(ord('a') + $_)
        . ' [' . join(',', ("*$p") x 9) . "]\n" } 1 .. 9;
    for my $c (['the billion laughs', $lol, 400, qr/^1:4: an anchor/], ['an alias', "case_id: *x\n", 400, qr/^1:10: an alias/],
            ['a tag', "case_id: !!binary aGk=\n", 400, qr/^1:10: a tag/], ['a key twice', "a: 1\na: 2\n", 400, qr/^2:1: this key/],
            ['two documents', "a: 1\n---\nb: 1\n", 400, qr/^2:1: more than one/], ['a tab for indentation', "a:\n\tb: 1\n", 400, qr/^2:1: /],
            ['a list', "- a\n", 400, qr/not an object/], ['nothing', "# nothing\n", 400, qr/not an object/], ['UTF-16', "\xff\xfea\0:\0", 400, qr/^1:/],
            ['30000 levels', 'a: ' . '[' x 30000, 400, qr/too deep/], ['30000 nodes', 'a: [' . 'x,' x 30000 . ']', 400, qr/too many nodes/],
            ['a number with no room', 'a: 1e999', 400, qr/number/], ['131073 bytes', 'a: ' . 'x' x 131070, 413, qr/131072/],
            ['JSON that is none', '{"a":', 400, qr/flow node/], ['no field', 'colour: red', 422, qr/./]) {
        my ($what, $text, $status, $detail) = @$c;
        my $r = yaml($text);
        is($r->status, $status, "$what: $status") or diag($r->brief);
        is($r->problem, { 400 => 'malformed-yaml', 413 => 'too-large', 422 => 'schema-violation' }->{$status}, "$what: with its code");
        like($r->json->{detail}, $detail, "$what: and its place") or diag($r->body);
    }
    is($pg->one('SELECT count(*) FROM aegis.plan_proposed'), $before, 'no plan came of it');
    my $r = yaml('a: 1', type => 'text/yaml');
    is($r->problem, 'unsupported-media-type', 'another media type is not taken');
    is($r->header('accept'), 'application/json, application/yaml', 'and both of ours are named');
    my $create = $http->write('POST', '/case/create', 'title: x', headers => ['Content-Type', 'application/yaml']);
    is($create->problem, 'unsupported-media-type', 'YAML is taken where it is said to be');
    is($create->header('accept'), 'application/json', 'and nowhere else');
};

done_testing;
