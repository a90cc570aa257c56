# 06directives.t: the module's manual against its code, both ways: a page and a
# row of the index for each directive, with the context and the default that the
# code has; a row for each variable and each metric; the log format has all
# variables.
use v5.36;
use lib 't/lib';
use Test::More;
use Aegis::Test;

my @c = map { slurp(root . "/$_") } grep { m{^ngx_aegis_module/.*\.c$} } files_of();
my $code = join "\n", @c;
my $dir = root . '/docs/directives';

# --- what the code says

my %define = map { /^#define\s+(NGX_HTTP_AEGIS_\w+)[ \\\n]+(NGX_[A-Z0-9_|]+)$/mg } @c;
my %context = (NGX_HTTP_MAIN_CONF => 'http', NGX_HTTP_SRV_CONF => 'server', NGX_HTTP_LOC_CONF => 'location',
               NGX_HTTP_LIF_CONF => 'if in location', NGX_HTTP_LMT_CONF => 'limit_except');

my (%directive, %variable);
for my $table ($code =~ /ngx_command_t\s+\w+\[\]\s*=\s*\{(.*?)ngx_null_command/gs) {
    while ($table =~ /\{\s*ngx_string\("(\w+)"\),\s*([\w|\s]+?),(.*?)\}/gs) {
        my ($name, $flags, $rest) = ($1, $2, $3);
        $flags =~ s/\b(NGX_HTTP_AEGIS_\w+)\b/$define{$1} \/\/ die "$name: $1 is not known\n"/ge;
        my %flag = map { $_ => 1 } split /[\s|\\]+/, $flags;
        $directive{$name} = { context => join(', ', map { $context{$_} } grep { $flag{$_} } qw(NGX_HTTP_MAIN_CONF NGX_HTTP_SRV_CONF
            NGX_HTTP_LOC_CONF NGX_HTTP_LIF_CONF NGX_HTTP_LMT_CONF)), flag => \%flag, default => default($name, $rest) };
    }
}
for my $table ($code =~ /ngx_http_variable_t\s+\w+\[\]\s*=\s*\{(.*?)\n\};/gs) {
    $variable{$_} = 1 for $table =~ /ngx_string\("(\w+)"\)/g;
}
my %metric = $code =~ /metrics_head\(\s*&?b,\s*"(\w+)",\s*"(\w+)"/g;

# What the merge, or the start of the main configuration, gives a field that
# nobody set; undef when that is nothing.
sub default ($name, $rest) {
    if ($rest =~ /offsetof\(\w+,\s*(\w+)\)/) {
        my $field = $1;
        if ($code =~ /ngx_conf_merge_(\w+?)_value\(conf->\Q$field\E,\s*prev->\Q$field\E,\s*([^;]+)\);/) {
            my ($type, $value) = ($1, $2);
            return $type eq 'msec' ? ($value % 1000 ? "${value}ms" : $value / 1000 . 's')
                : $type eq 'value' || $type eq '' ? ($value ? 'on' : 'off')
                : $type eq 'str' ? ($value eq '""' ? undef : $value =~ s/"//gr) : $value;
        }
        return $1 ? 'on' : 'off' if $code =~ /ngx_conf_(?:init|merge)_value\(conf->\Q$field\E,(?:\s*prev->\w+,)?\s*(\d)\);/;
    }
    return "$1:${2}k" if $name eq 'aegis_zone' && $code =~ /zone = ngx_string\("(\w+)"\).*?ngx_shared_memory_add\(cf, &zone, (\d+) \* 1024/s;
    return undef;
}

# --- what the pages say

my (%page, %index, %row);
for my $file (grep { !/README/ } glob "$dir/*.md") {
    my ($name) = $file =~ m{([^/]+)\.md$};
    my $text = slurp($file);
    my %p = map { $_ => $text =~ /^\| \Q$_\E \| (.*) \|$/m ? $1 : '' } qw(Syntax Default Context);
    $page{$name} = { %p, title => ($text =~ /^# (.*)$/m)[0], prose => length($text =~ s/\A.*?^\| Context.*?\n//smr) };
}
my $readme = slurp("$dir/README.md");
$index{$1} = [$2, $3] while $readme =~ /^\| \[(\w+)\]\(\1\.md\) \| (.*?) \| (.*?) \| .+ \|$/mg;

cmp_ok(scalar keys %directive, '>=', 12, 'the code has ' . keys(%directive) . ' directives');
is_deeply([ sort keys %page ], [ sort keys %directive ], 'each has a page in docs/directives, and no page is without one');
is_deeply([ sort keys %index ], [ sort keys %directive ], 'and a row in docs/directives/README.md');

for my $name (sort keys %directive) {
    my ($d, $p) = ($directive{$name}, $page{$name}) or next;
    next unless $p;
    subtest $name => sub {
        is($p->{title}, $name, 'its page has its name');
        is($p->{Context}, $d->{context}, 'its context is the code\'s');
        my $default = defined $d->{default} ? "`$name $d->{default};`" : "\x{e2}\x{80}\x{94}";
        is($p->{Default}, $default, 'its default is the code\'s');
        is_deeply($index{$name}, [ defined $d->{default} ? "`$d->{default}`" : $default, $d->{context} ], 'the index says the same');
        my @syntax = map { s/\\\|/|/gr } $p->{Syntax} =~ /`([^`]+)`/g;
        like($syntax[0] // '', qr/^\Q$name\E(?:;| )/, 'its syntax begins with it');
        like($syntax[-1] // '', qr/;$/, 'and ends with a semicolon');
        my $words = () = ($syntax[0] // '') =~ /\s+\S+/g;
        is($words, 0, 'it takes no value') if $d->{flag}{NGX_CONF_NOARGS};
        is($words, 1, 'it takes one value') if $d->{flag}{NGX_CONF_TAKE1};
        is($p->{Syntax}, "`$name on` \\| `off;`", 'it is on or off') if $d->{flag}{NGX_CONF_FLAG};
        cmp_ok($p->{prose}, '>', 100, 'it is explained');
    };
}

subtest 'variables' => sub {
    my %there = map { $_ => 1 } slurp(root . '/docs/variables.md') =~ /^\| `\$(\w+)` \| \S/mg;
    cmp_ok(scalar keys %variable, '>=', 8, 'the code has ' . keys(%variable) . ' variables');
    is_deeply([ sort keys %there ], [ sort keys %variable ], 'docs/variables.md has a row for each, and no other');
    my %log = map { $_ => 1 } slurp(root . '/conf/aegis_log.conf') =~ /\$(aegis_\w+)/g;
    is_deeply([ sort keys %log ], [ sort keys %variable ], 'conf/aegis_log.conf logs each');
};

subtest 'metrics' => sub {
    my %there = slurp(root . '/docs/metrics.md') =~ /^\| `(\w+)` \| (\w+) \|.*\S \|$/mg;
    cmp_ok(scalar keys %metric, '>=', 12, 'the code has ' . keys(%metric) . ' metrics');
    is_deeply(\%there, \%metric, 'docs/metrics.md has a row for each, with its type, and no other');
};

done_testing;
