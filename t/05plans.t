# 05plans.t: the published schema of plans (docs/schema/plan.schema.json) and the
# core's checker are one: the cases of data/plans.json, and every value of each
# complete plan there exchanged, left out and doubled, are judged by both. The
# validator is one of others (python3-jsonschema). What a schema cannot say is in
# the data as such, and in the schema's $comment.
use v5.36;
use lib 't/lib';
use Test::More;
use Aegis::Test;
use Storable 'dclone';

my $tool = build_dir . '/t/tools/plan_check';
my $python = (grep { -x && run([$_, '-c', 'import jsonschema'])->{rc} eq '0' } '/usr/bin/python3', have('python3') // ())[0];
plan skip_all => 'python3-jsonschema is not installed' unless $python;
skip_unless($tool);

my @cases = @{ json_decode(slurp(root . '/t/data/plans.json')) };
for my $c (@cases) {
    $c->{plan}{steps} = [ ($c->{plan}{steps}[0]) x $c->{times} ] if $c->{times};
}
# text where the form of a number matters: 1.0 is not 1
my @raw = map { $_->{text} // json_encode($_->{plan}) } @cases;

sub judged ($argv, @lines) {
    my $r = run($argv, input => join('', map { "$_\n" } @lines), env => { san_env }, timeout => 120);
    is($r->{rc}, 0, "$argv->[-1] judges " . scalar @lines) or diag($r->{err});
    return split /\n/, $r->{out};
}
sub ours (@lines) { return judged([$tool], @lines) }
sub theirs (@lines) { return judged([$python, root . '/t/tools/json_schema.py', root . '/docs/schema/plan.schema.json'], @lines) }

subtest 'the cases' => sub {
    my @o = ours(@raw);
    my @t = theirs(@raw);
    for my $i (0 .. $#cases) {
        my $c = $cases[$i];
        my $at = $c->{at};
        if (!$at) {
            is($o[$i], 'ok', "$c->{is}: the checker takes it");
            is($t[$i], 'ok', "$c->{is}: so does the schema");
            next;
        }
        ok((grep { $_ eq $at } split / /, $o[$i]), "$c->{is}: the checker refuses it at $at") or diag($o[$i]);
        if ($c->{checker_alone}) {
            is($t[$i], 'ok', "$c->{is}: which a schema cannot say");
            next;
        }
        # a validator names the object when a member is missing or too many
        my $up = $at =~ s{/[^/]+\z}{}r || '/';
        ok((grep { $_ eq $at || $_ eq $up } split / /, $t[$i]), "$c->{is}: so does the schema") or diag($t[$i]);
    }
};

# Each place of a document, as a path of keys and indexes.
sub places ($v, @at) {
    return ref $v eq 'HASH' ? map { ([@at, $_], places($v->{$_}, @at, $_)) } sort keys %$v
        : ref $v eq 'ARRAY' ? map { ([@at, $_], places($v->[$_], @at, $_)) } 0 .. $#$v : ();
}
sub changed ($doc, $at, $how) {
    my $copy = dclone($doc);
    my $in = $copy;
    $in = ref $in eq 'HASH' ? $in->{$_} : $in->[$_] for @$at[0 .. $#$at - 1];
    $how->($in, $at->[-1]);
    return json_encode($copy);
}

subtest 'every value of a whole plan, changed' => sub {
    my @values = (undef, json_decode('true'), -1, 0, 1, 2, 0.5, 86401, 1000001, '', 'x', '.x', "a\x{7f}", 'x' x 64, 'x' x 513, 'x' x 4001,
        [], ['x'], [1], {}, { x => 1 }, 'exec', 'metric', 'echo', 'script.exec', 'other', '<');
    my (@lines, %seen);
    for my $doc (map { $_->{plan} } grep { $_->{base} } @cases) {
        for my $at (places($doc)) {
            push @lines, map { my $v = $_; changed($doc, $at, sub ($in, $k) { ref $in eq 'HASH' ? ($in->{$k} = $v) : ($in->[$k] = $v) }) } @values;
            push @lines, changed($doc, $at, sub ($in, $k) { ref $in eq 'HASH' ? delete $in->{$k} : splice @$in, $k, 1 });
            push @lines, changed($doc, $at, sub ($in, $k) { ref $in eq 'HASH' ? ($in->{"$k+"} = $in->{$k}) : push @$in, ($in->[$k]) x 64; return });
        }
    }
    @lines = grep { !$seen{$_}++ } @lines;
    my @o = ours(@lines);
    my @t = theirs(@lines);
    my ($taken, @differ) = (0);
    for my $i (0 .. $#lines) {
        $taken++ if $o[$i] eq 'ok';
        push @differ, "$lines[$i]\n  checker: $o[$i]\n  schema: $t[$i]" if ($o[$i] eq 'ok') ne ($t[$i] eq 'ok');
    }
    cmp_ok(scalar @lines, '>', 800, 'plans enough');
    cmp_ok($taken, '>', 50, 'some of them are right');
    cmp_ok($taken, '<', @lines / 2, 'most are not');
    is(scalar @differ, 0, 'both say the same of each') or diag(join "\n", @differ[0 .. (@differ > 5 ? 4 : $#differ)]);
};

subtest 'aegisctl plan, offline' => sub {
    my $bin = build_dir . '/aegisctl';
    my $ctl = sub (@args) { return run([$bin, 'plan', @args], cwd => root, env => { AEGIS_URL => undef, DATABASE_URL => undef, san_env }) };
    my @shipped = map { m{(conf/.*)} } glob root . '/conf/plans/*.yaml';
    cmp_ok(scalar @shipped, '>=', 6, 'templates are shipped');
    my $r = $ctl->('check', '-o', 'json', @shipped);
    is($r->{rc}, 0, 'check: all of them are right') or diag($r->{err});
    is_deeply([ map { $_->{kind} } @{ json_decode($r->{out}) } ], [ ('template') x @shipped ], 'and templates');
    my $dir = scratch('plans');
    my $plan = spew("$dir/plan.yaml", "title: t\nsteps: [{action: echo}]\n");
    $r = $ctl->('check', '-o', 'json', $plan);
    is($r->{rc}, 0, 'check: an incomplete plan is a plan');
    is_deeply(json_decode($r->{out})->[0]{missing}, ['rollback', 'verify'], 'and what it lacks is said');
    my $bad = spew("$dir/bad.yaml", "title: t\nsteps: [{action: echo, timeout_s: '5'}]\n");
    $r = $ctl->('check', $plan, $bad);
    is($r->{rc}, 1, 'check: one bad file is enough');
    like($r->{err}, qr{bad\.yaml: /steps/0/timeout_s: }, 'with file and pointer');
    my $broken = spew("$dir/broken.yaml", slurp(root . '/conf/plans/scale.yaml') =~ s/template: scale/template: broken/r =~ s/\$\{replicas\}/\${replica}/r);
    $r = $ctl->('check', $broken);
    is($r->{rc}, 1, 'check: a hole without a parameter');
    like($r->{err}, qr{/plan/\S+: names replica, which is no parameter}, 'is named');

    $r = $ctl->('render', 'scale', '-p', 'namespace=shop', '-p', 'replicas=5', '-p', 'replicas_before=2', '-l', 'workload=web');
    is($r->{rc}, 0, 'render: a plan') or diag($r->{err});
    is(json_decode($r->{out})->{steps}[0]{params}{replicas}, 5, 'with typed values');
    is((ours($r->{out} =~ s/\n//gr))[0], 'ok', 'that the checker takes');
    my $five = spew("$dir/five.json", $r->{out});
    my $six = spew("$dir/six.json", $ctl->('render', 'scale', '-p', 'namespace=shop', '-p', 'replicas=6', '-p', 'replicas_before=2', '-l', 'workload=web')->{out});
    $r = $ctl->('render', 'scale', '-p', 'namespace=shop;ls', '-p', 'colour=red');
    is($r->{rc}, 1, 'render: values that do not fit');
    like($r->{err}, qr{/params/$_: }, "$_ is named") for qw(namespace replicas workload colour);
    is($ctl->('render', 'nonsense')->{rc}, 4, 'render: no such template');

    $r = $ctl->('diff', '-o', 'json', $five, $six);
    is($r->{rc}, 0, 'diff: of two files');
    is_deeply(json_decode($r->{out}), [{ op => 'replace', path => '/title', was => 'Scale web in shop from 2 to 5', value => 'Scale web in shop from 2 to 6' },
        { op => 'replace', path => '/steps/0/params/replicas', was => 5, value => 6 }], 'is a JSON Patch') or diag($r->{out});
    is_deeply(json_decode($ctl->('diff', '-o', 'json', $five, $five)->{out}), [], 'diff: of one with itself is empty');
};

done_testing;
