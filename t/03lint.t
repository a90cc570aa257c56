# 03lint.t: house style that a machine can hold: what a file says about itself,
# its length, its blanks, its comments; nothing of anybody's machine in it; and
# shellcheck, mandoc and perl -c where those programs are.
use v5.36;
use lib 't/lib';
use Test::More;
use Aegis::Test;

my @all = grep { !m{^(LICENSE|build/|run/)} && !m{\.(png|svg|ico|woff2?)$} } files_of();
my @code = grep { m{\.(c|h|def|pl|pm|t|sh|sql)$} || m{(^|/)(Makefile|config)$} } @all;
my @c = grep { m{\.[ch]$} } @all;

subtest 'every file says what it answers for' => sub {
    my @bad;
    for my $f (@code, grep { m{\.(ya?ml|conf|service|target)$} } @all) {
        my @lines = split /\n/, slurp(root . "/$f");
        shift @lines if @lines && $lines[0] =~ /^#!/;
        shift @lines while @lines && $lines[0] =~ /^\s*(?:\/\*|--|#)?\s*$/ && $lines[0] !~ /\S\S/;
        my $head = join "\n", @lines[0 .. ($#lines < 11 ? $#lines : 11)];
        push @bad, "$f: no comment at its head" unless $head =~ m{\A\s*(?:/\*|\*|--|#)\s*\S*.*\w};
        push @bad, "$f: its head does not name it" if $f =~ m{([^/]+)\.[ch]$} && $head !~ /\Q$1\E\.[ch]/;
    }
    is_deeply(\@bad, [], 'a comment at the head of each');
};

subtest 'files and functions stay readable' => sub {
    my (@long, @wide, @fun);
    for my $f (@code, grep { m{\.(md|ya?ml)$} } @all) {
        my @lines = split /\n/, slurp(root . "/$f"), -1;
        push @long, "$f: " . @lines if @lines > 601;
        next unless $f =~ /\.[ch]$/;
        my ($start, $what);
        for my $i (0 .. $#lines) {
            push @wide, "$f:" . ($i + 1) if length($lines[$i] =~ s/[\x80-\xbf]//gr) > 110;
            if ($lines[$i] =~ /^\{/) { $start = $i }
            elsif ($lines[$i] =~ /^\}/ && defined $start) {
                push @fun, "$f:" . ($start + 1) . ': ' . ($i - $start) if $i - $start > 90;
                $start = undef;
            }
        }
    }
    is_deeply(\@long, [], 'no file is longer than 600 lines');
    is_deeply(\@wide, [], 'no line of C is wider than 110 columns');
    is_deeply(\@fun, [], 'no function is longer than 90 lines');
};

subtest 'blanks' => sub {
    my @tabs = map { lines_match($_, qr/\t/) } grep { !m{(^|/)Makefile$|\.mk$|\.go$|(^|/)go\.mod$|^deploy/debian/rules$} && !m{^t/data/} } @all;
    is_deeply(\@tabs, [], 'no tab outside a Makefile and Go, whose own form has them');
    is_deeply([ map { lines_match($_, qr/[ \t]$/) } grep { !m{^t/data/} } @all ], [], 'no blank at the end of a line');
    is_deeply([ grep { my $t = slurp(root . "/$_"); length $t && $t !~ /[^\n]\n\z/ } grep { !m{^t/data/} } @all ], [],
        'every file ends with one newline');
    is_deeply([ map { lines_match($_, qr/\r/) } grep { !m{^t/data/} } @all ], [], 'no carriage return');
};

subtest 'C as nginx writes it' => sub {
    my (@slash, @brace, @todo);
    for my $f (@c) {
        my $text = slurp(root . "/$f");
        # strings and block comments are not looked into
        my $plain = $text =~ s{"(?:[^"\\\n]|\\.)*"}{""}gr;
        $plain =~ s{/\*.*?\*/}{ $& =~ s/[^\n]//gr }gse;
        my $n = 0;
        for my $line (split /\n/, $plain, -1) {
            $n++;
            push @slash, "$f:$n" if $line =~ m{(?<!:)//};
            # the head of the statement, with its parentheses closed, and then more
            push @brace, "$f:$n: $line" if $line =~ /^\s*(?:\}\s*else\s+)?(?:if|while|for)\s*(\((?:[^()]++|(?1))*\))\s*[^\s{\\].*;\s*$/;
        }
        push @todo, map { "$f: $_" } $text =~ /\b(TODO|FIXME|XXX|HACK)\b/g;
    }
    is_deeply(\@slash, [], 'comments are /* */');
    is_deeply(\@brace, [], 'every if, for and while has braces');
    is_deeply(\@todo, [], 'nothing is left to do in a comment');
};

subtest 'nothing of anybody\'s machine' => sub {
    my @paths = map { lines_match($_, qr{(?<![\w.-])/(?:work|root|home|Users|mnt|media)/[\w.]}) } @all;
    is_deeply([ grep { !m{^t/03lint\.t:} } @paths ], [], 'no path of a machine');
    # every host that is named is one that we mean
    my $known = qr/^(?:localhost|127\.\d+\.\d+\.\d+|0\.0\.0\.0|\[?::1\]?|(?:[\w-]+\.)*example(?:\.(?:com|org|net))?
        |(?:[\w-]+\.)*(?:test|invalid|local|internal|svc)
        |(?:www\.)?(?:apache|w3|ietf|rfc-editor|nginx|json-schema|keepachangelog|semver|cloudevents|prometheus|freedesktop|postgresql)\.(?:org|io|com)
        |maven\.apache\.org|datatracker\.ietf\.org|cloudevents\.io|prometheus\.io|docs\.nats\.io|nats\.io|kafka\.apache\.org
        |www\.rfc-editor\.org|www\.debian\.org|spec\.openapis\.org|www\.asyncapi\.com|github\.com|repo\.maven\.apache\.org|grafana\.com
        |10\.66\.0\.\d+|[A-Za-z_]+|\\?\$.*|<.*|%.*|\xe2\x80\xa6.*)$/x;
    my @hosts;
    for my $f (@all) {
        my $text = slurp(root . "/$f");
        while ($text =~ m~\bhttps?://(?:[^\s/"'<>@]*@)?([^\s/:"'`<>)\]},;]+)~g) {
            my $h = $1;
            $h =~ s/[.]$//;
            push @hosts, "$f: $h" unless $h =~ $known;
        }
    }
    is_deeply(\@hosts, [], 'no host that is not ours to name');
    my @who = map { lines_match($_, qr/\b(?:claude|anthropic|chatgpt|openai\.com|copilot)\b/i) } @all;
    is_deeply([ grep { !m{^t/03lint\.t:} } @who ], [], 'no name of a tool that wrote it');
    my @secrets = map { lines_match($_, qr/-----BEGIN [A-Z ]*PRIVATE KEY-----|AKIA[0-9A-Z]{16}/) } @all;
    is_deeply([ grep { !m{^t/03lint\.t:} } @secrets ], [], 'no key');
};

subtest 'perl' => sub {
    for my $f (grep { m{\.(t|pm|pl)$} } @all) {
        my $r = run([$^X, '-I' . root . '/t/lib', '-c', root . "/$f"], cwd => root);
        is($r->{rc}, 0, "$f compiles") or diag($r->{err});
    }
};

subtest 'shell' => sub {
    my @sh = grep { m{\.sh$} || slurp(root . "/$_") =~ m{\A#!\s*\S*\b(?:env\s+)?(?:ba|da)?sh\b} } @all;
    plan skip_all => 'there is no shell script' unless @sh;
    for my $f (@sh) {
        my $bash = slurp(root . "/$f") =~ m{\A#!.*bash|^# shellcheck shell=bash}m;
        my $r = run([$bash ? 'bash' : 'sh', '-n', root . "/$f"]);
        is($r->{rc}, 0, "$f parses") or diag($r->{err});
        ok(-x root . "/$f", "$f can be executed") if slurp(root . "/$f") =~ /\A#!/;
    }
    SKIP: {
        skip 'shellcheck is not installed', 1 unless have('shellcheck');
        my $r = run(['shellcheck', '-x', '-S', 'warning', map { root . "/$_" } @sh], cwd => root, timeout => 120);
        is($r->{rc}, 0, 'shellcheck has nothing to say') or diag($r->{out});
    }
};

subtest 'manual pages' => sub {
    my @man = grep { m{\.[1-8]$} } @all;
    plan skip_all => 'there is no manual page' unless @man;
    plan skip_all => 'mandoc is not installed' unless have('mandoc');
    my $r = run(['mandoc', '-Tlint', '-W', 'warning', map { root . "/$_" } @man]);
    is($r->{rc}, 0, 'mandoc has nothing to say') or diag($r->{out} . $r->{err});
};

subtest 'alerts and rules' => sub {
    my @rules = grep { m{prometheus/.*\.ya?ml$} } @all;
    plan skip_all => 'there are no rules' unless @rules;
    plan skip_all => 'promtool is not installed' unless have('promtool');
    for my $f (@rules) {
        my $text = slurp(root . "/$f");
        my @cmd = $text =~ /^(?:rule_files|tests):/m && $text =~ /^tests:/m ? qw(test rules)
            : $text =~ /^scrape_configs:/m ? qw(check config --syntax-only) : qw(check rules);
        my $r = run(['promtool', @cmd, root . "/$f"]);
        is($r->{rc}, 0, "promtool @cmd $f") or diag($r->{out} . $r->{err});
    }
};

done_testing;
