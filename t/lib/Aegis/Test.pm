# Aegis::Test: what every suite needs: where the project is, scratch folders,
# running and starting programs with a deadline, and waiting for facts.
# Invariant: this is the only place that waits, and it waits for a fact, never
# for time to pass. Clusters, HTTP, the bus and whole installations have files
# of their own beside this one.
package Aegis::Test;

use v5.36;
use Exporter 'import';
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Path qw(make_path remove_tree);
use Fcntl ();
use File::Temp ();
use IO::Select;
use IO::Socket::INET;
use POSIX ();
use Symbol 'gensym';
use IPC::Open3;
use Test::More ();
use Time::HiRes qw(time);

our @EXPORT = qw(root build_dir is_san slurp spew spew_into run run_ok start_process
    stop_process wait_for scratch free_port json_decode json_encode uuid new_key
    as_postgres alive san_env have skip_unless files_of lines_match);

my $JSON_CLASS = eval { require JSON::XS; 'JSON::XS' }
    // do { require JSON::PP; 'JSON::PP' };
my $JSON = $JSON_CLASS->new->utf8->canonical->allow_nonref;

my $ROOT = abs_path(dirname(__FILE__) . '/../../..');
my $OWNER = $$;
my (@started, $scratch_base, @at_end);

sub root () { return $ROOT }

# Where the binaries under test are: B, else build/asan with SAN=1, else
# build/release, as in the Makefile.
sub build_dir () {
    my $b = $ENV{B} || ($ENV{SAN} ? 'build/asan' : 'build/release');
    return $b =~ m{^/} ? $b : "$ROOT/$b";
}

sub is_san () { return $ENV{SAN} ? 1 : 0 }

sub slurp ($path) {
    open my $f, '<:raw', $path or die "cannot read $path: $!";
    local $/;
    my $text = <$f>;
    return $text // '';
}

sub spew ($path, $text) {
    open my $f, '>:raw', $path or die "cannot write $path: $!";
    print $f $text;
    close $f or die "cannot write $path: $!";
    return $path;
}

# Replace a file in one step, so that a program that reads it sees all or nothing.
sub spew_into ($path, $text) {
    my $mode = (stat $path)[2] // 0100644;
    spew("$path.new", $text);
    chmod $mode & 07777, "$path.new";
    rename "$path.new", $path or die "cannot replace $path: $!";
}

sub json_decode ($text) { return $JSON->decode($text) }
sub json_encode ($value) { return $JSON->encode($value) }

sub alive ($pid) {
    return 0 unless $pid && $pid > 0 && (kill(0, $pid) || $!{EPERM});
    # a zombie has ended, whoever has not waited for it yet
    open my $f, '<', "/proc/$pid/stat" or return 0;
    my $stat = <$f> // '';
    return $stat =~ /\) [ZX] / ? 0 : 1;
}

sub have ($program) {
    for my $dir (split /:/, "$ENV{PATH}:/usr/sbin:/sbin") {
        return "$dir/$program" if -x "$dir/$program";
    }
    return undef;
}

# Wait until code returns true; its value is returned. The one poll of the
# whole suite. A fact that does not come fails the test that waits for it; one
# that comes late, on a machine with other work, does not: only a wait whose end
# is expected (quiet) takes its time literally.
sub wait_for ($what, $timeout_s, $code, %opt) {
    my $until = time + $timeout_s * ($opt{quiet} ? is_san ? 3 : 1 : 5);
    my $pause = 0.005;
    my $last_error = '';
    while (1) {
        my $value = eval { $code->() };
        $last_error = $@ if $@;
        return $value if $value;
        last if time >= $until;
        select undef, undef, undef, $pause;
        $pause = $pause * 1.5 > 0.1 ? 0.1 : $pause * 1.5;
    }
    return undef if $opt{quiet};
    Test::More::diag("waited ${timeout_s}s in vain for: $what"
        . ($last_error ? " (last error: $last_error)" : ''));
    return undef;
}

# Run argv to its end. {rc, out, err, signal}. Input may be given. A program that
# is not done in time (with the patience of wait_for) is killed and rc is 'timeout'.
sub run ($argv, %opt) {
    my $timeout = ($opt{timeout} // 60) * 5;
    my $err = gensym;
    my ($in, $out);
    local $SIG{PIPE} = 'IGNORE';
    local %ENV = (%ENV, %{ $opt{env} // {} });
    for (keys %ENV) { delete $ENV{$_} unless defined $ENV{$_} }
    my $cwd = POSIX::getcwd();
    if ($opt{cwd}) { chdir $opt{cwd} or die "chdir $opt{cwd}: $!" }
    my $pid = eval { open3($in, $out, $err, @$argv) };
    my $failure = $@;
    chdir $cwd if $opt{cwd};
    return { rc => 127, out => '', err => $failure, signal => 0 } unless $pid;
    my $input = $opt{input} // '';
    if (length $input) { syswrite $in, $input }
    close $in;
    my %buf = (out => '', err => '');
    my %name = (fileno($out) => 'out', fileno($err) => 'err');
    my $sel = IO::Select->new($out, $err);
    my $until = time + $timeout;
    my $late = 0;
    while ($sel->count) {
        my $left = $until - time;
        if ($left <= 0) { $late = 1; kill 'KILL', $pid; last }
        for my $fh ($sel->can_read($left)) {
            my $n = sysread $fh, my $chunk, 65536;
            if ($n) { $buf{ $name{ fileno $fh } } .= $chunk }
            else    { $sel->remove($fh) }
        }
    }
    waitpid $pid, 0;
    my $status = $?;
    return { %buf, rc => $late ? 'timeout' : $status >> 8, signal => $status & 127 };
}

# The same for a step that the test cannot go on without.
sub run_ok ($argv, %opt) {
    my $r = run($argv, %opt);
    die join(' ', @$argv) . " ended with $r->{rc}:\n$r->{out}$r->{err}\n" if $r->{rc} ne '0';
    return $r->{out};
}

# argv so that it runs as the uid that may own a PostgreSQL cluster.
sub as_postgres (@argv) {
    return @argv if $> != 0;
    return ('setpriv', '--reuid=postgres', '--regid=postgres', '--clear-groups', @argv);
}

# Start a program that stays. Its output goes to a log file. {pid, log}. It is
# ended with the test, by the signal stop (TERM).
sub start_process ($name, $argv, %opt) {
    my $log = $opt{log} // scratch() . "/$name.log";
    my $pid = fork // die "fork: $!";
    if ($pid == 0) {
        @at_end = @started = ();
        $OWNER = 0;
        setpgrp 0, 0;
        chdir $opt{cwd} if $opt{cwd};
        $ENV{$_} = $opt{env}{$_} for keys %{ $opt{env} // {} };
        open STDIN, '<', '/dev/null';
        open STDOUT, '>>', $log or POSIX::_exit(126);
        open STDERR, '>&', \*STDOUT;
        { no warnings 'exec'; exec { $argv->[0] } @$argv }
        print STDERR "cannot run $argv->[0]: $!\n";
        POSIX::_exit(127);
    }
    my $p = { name => $name, pid => $pid, log => $log, stop => $opt{stop} // 'TERM' };
    push @started, $p;
    return $p;
}

# TERM, then KILL when it does not go. Returns the exit status ($?), or 'killed'.
sub stop_process ($p, $signal = $p->{stop}, $timeout = 15) {
    return $p->{status} if exists $p->{status};
    kill $signal, $p->{pid};
    my $gone = wait_for("$p->{name} to end", $timeout, sub {
        my $r = waitpid $p->{pid}, POSIX::WNOHANG();
        if ($r == $p->{pid}) { $p->{status} = $?; return 1 }
        return $r == -1;
    }, quiet => 1);
    if (!$gone) {
        kill 'KILL', -$p->{pid};
        kill 'KILL', $p->{pid};
        waitpid $p->{pid}, 0;
        $p->{status} = 'killed';
    }
    return $p->{status} // 0;
}

# A folder of this test, readable for the uid of services, gone at the end
# (kept with AEGIS_T_KEEP=1).
sub scratch ($sub = '') {
    if (!$scratch_base) {
        my $top = $ENV{TMPDIR} || '/tmp';
        $scratch_base = File::Temp::tempdir('aegis-t-XXXXXX', DIR => $top, CLEANUP => 0);
        chmod 0755, $scratch_base;
    }
    return $scratch_base if $sub eq '';
    make_path("$scratch_base/$sub");
    return "$scratch_base/$sub";
}

# Free now, and never given twice: a second caller may ask before the first listens.
# Below the kernel's range for outgoing connections, any of which could sit on a
# port between its choice and its use; and no port again before all were given,
# for suites that run side by side.
sub free_port () {
    my ($low, $high) = (12_000, 32_000);
    my $file = ($ENV{TMPDIR} || '/tmp') . "/aegis-t-ports-$>";
    sysopen my $f, $file, Fcntl::O_RDWR() | Fcntl::O_CREAT() | Fcntl::O_NOFOLLOW(), 0600 or die "$file: $!";
    flock $f, Fcntl::LOCK_EX() or die "$file: $!";
    my $last = (<$f> // '') =~ /^(\d+)$/ ? $1 : $low + int rand $high - $low;
    for (1 .. 1000) {
        my $port = $last = $last + 1 < $high ? $last + 1 : $low;
        IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1', LocalPort => $port) or next;
        seek $f, 0, 0;
        truncate $f, 0;
        print $f "$port\n";
        close $f or die "$file: $!";
        return $port;
    }
    die 'no free port';
}

sub random_hex ($bytes) {
    open my $f, '<:raw', '/dev/urandom' or die "urandom: $!";
    read($f, my $raw, $bytes);
    return unpack 'H*', $raw;
}

sub uuid () {
    my $h = random_hex(16);
    substr($h, 12, 1) = '4';
    substr($h, 16, 1) = 'a';
    return join '-', unpack 'A8A4A4A4A12', $h;
}

sub new_key ($prefix = 'k') { return "$prefix-" . random_hex(8) }

sub san_env () {
    return is_san
        ? (ASAN_OPTIONS => 'detect_leaks=0:abort_on_error=0',
           UBSAN_OPTIONS => 'print_stacktrace=1:halt_on_error=1')
        : ();
}

# skip_all with the reason unless every program or file is there.
sub skip_unless (@needs) {
    for my $n (@needs) {
        next if $n =~ m{/} ? -e $n : have($n);
        Test::More::plan(skip_all => "needs $n");
    }
}

# The project's files (tracked and new, not ignored), relative to the root.
sub files_of (@globs) {
    my @all;
    if (-e "$ROOT/.git" && have('git')) {
        my $r = run(['git', '-c', "safe.directory=$ROOT", '-C', $ROOT, 'ls-files',
                     '-co', '--exclude-standard']);
        @all = grep { -f "$ROOT/$_" } split /\n/, $r->{out};
    }
    else {
        my $r = run(['find', $ROOT, '-type', 'f', '-not', '-path', "$ROOT/build/*",
                     '-not', '-path', "$ROOT/run/*"]);
        @all = map { s{^\Q$ROOT/\E}{}r } split /\n/, $r->{out};
    }
    return sort grep { my $f = $_; !@globs || grep { $f =~ $_ } @globs } @all;
}

# "file:line: text" of every line of file that matches.
sub lines_match ($file, $re) {
    my ($n, @hits) = (0);
    for my $line (split /\n/, slurp("$ROOT/$file"), -1) {
        $n++;
        push @hits, "$file:$n: $line" if $line =~ $re;
    }
    return @hits;
}

# Run code when the test ends, last registered first, before the processes go.
sub at_end ($code) { unshift @at_end, $code }

END {
    my $status = $?;
    if ($OWNER == $$) {
        local $@;
        for my $code (@at_end) { eval { $code->() }; warn $@ if $@ }
        stop_process($_) for reverse @started;
        if ($scratch_base && !$ENV{AEGIS_T_KEEP}) { remove_tree($scratch_base) }
        elsif ($scratch_base) { Test::More::diag("kept $scratch_base") }
    }
    $? = $status;
}

1;
