# 04corpus.t: every input that the fuzzers kept (data/fuzz/<target>/) runs through
# its target under ASan and UBSan, and the properties of the target hold. A planted
# target shows that an abort, a report of either sanitizer and a file that is not
# run would be seen. `make replays` builds what is run, with or without SAN=1.
use v5.36;
use lib 't/lib';
use Test::More;
use Aegis::Test;

my $dir = root . '/build/replay';
my $data = root . '/t/data/fuzz';
my %env = (ASAN_OPTIONS => 'detect_leaks=1:abort_on_error=0', UBSAN_OPTIONS => 'print_stacktrace=1:halt_on_error=1');

# What was wrong with a run of bin over files; '' when nothing was.
sub fault ($bin, @files) {
    my $r = run([$bin, @files], timeout => 60, env => \%env);
    my $what = $r->{err} =~ /^(.*(?:Sanitizer|runtime error:).*|\S+\.[ch]:\d+: .*)$/m ? $1 : '';
    my $n = @files;
    return '' if $r->{rc} eq '0' && !$r->{signal} && $what eq '' && $r->{out} eq "$n inputs\n";
    my $last = (grep { m{^/\S+\z} } split /\n/, $r->{err})[-1] // 'no input';
    return "rc $r->{rc}, signal $r->{signal}, at $last: $what";
}

my @targets = grep { $_ ne 'replay' } map { m{([^/]+)\.c$} } glob root . '/t/fuzz/*.c';
# the sensor's decoders are one program, which is told which one it is
my %kind = map { ("sensor-$_" => $_) } slurp(root . '/t/fuzz/sensor/sensor.c') =~ /^    \{ "(\w+)",/mg;
cmp_ok(scalar keys %kind, '>', 10, 'and those of the sensor');
push @targets, sort keys %kind;
cmp_ok(scalar @targets, '>', 10, 'there are targets');

for my $t (@targets) {
    my @files = grep { -f } glob "$data/$t/*";
    my $bytes = 0;
    $bytes += -s $_ for @files;
    cmp_ok(scalar @files, '>', 0, "$t has a corpus") or next;
    ok(@files < 100 && $bytes < 200 * 1024, "$t: it is small") or diag(@files . " files, $bytes bytes");
    local $env{AEGIS_FUZZ_KIND} = $kind{$t} // '';
    is(fault($kind{$t} ? "$dir/sensor" : "$dir/$t", @files), '', "$t: " . @files . ' inputs hold');
}

my %is = map { $_ => 1 } @targets;
is_deeply([ grep { !$is{ s/\.dict$//r } } map { m{([^/]+)$} } glob "$data/*" ], [], 'every corpus and dictionary has its target');

subtest 'what a target finds is seen' => sub {
    my $c = spew(scratch . '/planted.c', <<~'C');
        #include "aegis_fuzz.h"
        int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
        {
            volatile int n = 2147483647;
            char *leak = data[0] == 'l' ? strdup("leak") : NULL;
            aegis_fuzz_must(data[0] != 'a' && (leak == NULL || leak[0]));
            return data[0] == 'o' ? data[size] : data[0] == 'u' ? n + size == 0 : data[0] == 's' ? n + 1 == 0 : 0;
        }
        C
    my $bin = scratch . '/planted';
    run_ok(['sh', '-c', 'cc -std=gnu11 -g -D_GNU_SOURCE -fsanitize=address,undefined -fno-sanitize-recover=undefined -It/fuzz -Icore '
        . '"$0" t/fuzz/replay.c build/replay/libaegis_core.a -o "$1" -ljansson -lyaml -lcrypto -lm', $c, $bin], cwd => root);
    my %file = map { $_ => spew(scratch . "/$_", $_) } qw(fine a o s l);
    is(fault($bin, $file{fine}), '', 'nothing, when nothing is wrong');
    like(fault($bin, @file{qw(fine a)}), qr{^rc \S+, signal 6, at .*/a: .*: data\[0\] != 'a'}, 'an abort, and at which input');
    like(fault($bin, $file{o}), qr/AddressSanitizer: heap-buffer-overflow/, 'a read behind the input');
    like(fault($bin, $file{s}), qr/signed integer overflow/, 'undefined behaviour');
    like(fault($bin, $file{l}), qr/LeakSanitizer/, 'a leak');
    like(fault($bin, $file{fine}, scratch . '/none'), qr/^rc 1/, 'an input that is not there');
};

done_testing;
