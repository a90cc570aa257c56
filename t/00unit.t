# 00unit.t: runs every unit binary of the build and shows each of its tests. A
# core file without a unit test, or a binary that was not built, fails here.
use v5.36;
use lib 't/lib';
use Test::More;
use Aegis::Test;

my @sources = map { m{([^/]+)\.c$} } glob root . '/t/unit/*.c';
cmp_ok(scalar @sources, '>', 0, 'there are unit tests');

for my $name (@sources) {
    my $bin = build_dir . "/t/unit/$name";
    if (!-x $bin) {
        fail("$name is built");
        diag("$bin is missing: run make unit");
        next;
    }
    subtest $name => sub {
        my $r = run([$bin], timeout => 120, env => { CMOCKA_MESSAGE_OUTPUT => 'TAP', san_env });
        my ($plan) = $r->{out} =~ /^1\.\.(\d+)/m;
        my @lines = grep { /^(not )?ok\b/ } split /\n/, $r->{out};
        for (@lines) {
            my ($not, $what) = /^(not )?ok \d+\s*(?:-\s*)?(.*)/;
            ok(!$not, $what);
        }
        is(scalar @lines, $plan // -1, 'every planned test has run');
        is($r->{rc}, 0, 'it ends well') or diag($r->{err});
        unlike($r->{err}, qr/Sanitizer|runtime error:/, 'no sanitizer report');
    };
}

# Every file of the core that decides something has a test that names it.
my $all = join '', map { slurp($_) } glob root . '/t/unit/*.c';
for my $file (map { m{([^/]+)\.h$} } glob root . '/core/*.h') {
    like($all, qr/"\Q$file\E\.h"/, "$file.h has a unit test that includes it")
        unless $file eq 'aegis';
}

done_testing;
