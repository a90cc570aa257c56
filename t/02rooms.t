# 02rooms.t: who may look into which room. Three kinds of facts: the #include
# lines against the table below, the symbols that the core's library leaves
# undefined (no I/O, clock, random, environment or log can be reached), and the
# symbols and data that the libraries and the module show to others.
use v5.36;
use lib 't/lib';
use Test::More;
use Aegis::Test;

my @libc = qw(assert ctype errno float inttypes limits math regex stdarg stdbool stddef stdint stdio stdlib
    string strings time);
my @posix = qw(arpa/inet dirent dlfcn fcntl getopt grp netdb netinet/in netinet/tcp poll pthread pwd sched signal
    spawn sys/epoll sys/eventfd sys/file sys/mman sys/prctl sys/random sys/resource sys/select sys/signalfd
    sys/socket sys/stat sys/statvfs sys/syscall sys/time sys/timerfd sys/types sys/uio sys/un sys/wait
    sysexits syslog termios unistd locale glob libgen sys/ioctl);
my @clients = ('libpq-fe.h', 'postgres_ext.h', 'nats/nats.h', 'librdkafka/rdkafka.h', 'yaml.h', 'curl/curl.h',
    'systemd/sd-daemon.h');

# room => { mine: quoted headers come from these folders, system: <...> }
my %room = (
    core    => { from => ['core'],
                 system => [ (map { "$_.h" } grep { $_ ne 'time' && $_ ne 'errno' } @libc), 'errno.h', 'jansson.h', 'yaml.h',
                             'openssl/sha.h', 'openssl/hmac.h', 'openssl/evp.h', 'openssl/crypto.h',
                             # verifying signatures of tokens
                             'openssl/bn.h', 'openssl/core_names.h', 'openssl/ec.h', 'openssl/ecdsa.h', 'openssl/err.h',
                             'openssl/param_build.h' ] },
    trace   => { from => ['core', 'trace'],
                 system => [ (map { "$_.h" } @libc), 'pthread.h', 'signal.h', 'curl/curl.h' ] },
    edge    => { from => ['core', 'trace', 'ngx_aegis_module'],
                 system => [ (map { "$_.h" } @libc), 'arpa/inet.h', 'ngx_config.h', 'ngx_core.h', 'ngx_http.h', 'ngx_event.h',
                             'libpq-fe.h', 'jansson.h', 'openssl/sha.h', 'openssl/rand.h', 'openssl/crypto.h',
                             'openssl/evp.h', 'openssl/ssl.h', 'openssl/x509v3.h', 'curl/curl.h' ] },
    lib     => { from => ['core', 'trace', 'workers/lib'],
                 system => [ (map { "$_.h" } @libc, @posix, 'malloc'), 'jansson.h', @clients, 'openssl/rand.h', 'openssl/sha.h',
                             'openssl/evp.h', 'openssl/ssl.h' ] },
    role    => { from => ['core', 'workers/lib', undef],       # undef: its own folder
                 system => [ (map { "$_.h" } @libc, @posix), 'jansson.h', 'yaml.h', 'curl/curl.h', 'openssl/rand.h',
                             'openssl/sha.h', 'openssl/evp.h', 'seccomp.h', 'linux/filter.h', 'sys/mount.h', 'sys/xattr.h',
                             # what senders speak; otlp.pb-c.h is made of workers/proto/
                             'microhttpd.h', 'otlp.pb-c.h', 'snappy-c.h', 'zlib.h', 'xxhash.h' ] },
    program => { from => ['core', 'workers/lib', 'workers', 'workers/ctl'],
                 system => [ (map { "$_.h" } @libc, @posix), 'jansson.h', @clients, 'openssl/rand.h', 'openssl/ssl.h',
                             'openssl/err.h', 'openssl/sha.h', 'openssl/evp.h', 'openssl/x509v3.h', 'openssl/x509.h', 'openssl/bio.h' ] },
    act     => { from => ['core', 'workers/lib', 'workers/roles/exec'],
                 system => [ (map { "$_.h" } @libc, @posix), 'jansson.h', 'curl/curl.h' ] },
    vm      => { from => ['workers/roles/exec'], system => [ (map { "$_.h" } @libc, @posix), 'sys/xattr.h' ] },
    decoders => { from => ['core', 'workers/roles/sensor', 't/fuzz'], system => [ map { "$_.h" } @libc ] },
    onnx    => { from => ['core', 'workers/lib', 'workers/roles/librarian'], system => [ (map { "$_.h" } @libc) ] },
    unit    => { from => ['core', 't/unit', undef],
                 system => [ (map { "$_.h" } @libc, @posix, 'setjmp'), 'jansson.h', 'cmocka.h',
                             'librdkafka/rdkafka.h', 'librdkafka/rdkafka_mock.h', 'snappy-c.h', 'openssl/sha.h', 'openssl/err.h',
                             'openssl/evp.h', 'openssl/ssl.h' ] },
);

sub room_of ($f) {
    return $f =~ m{^t/onnx/} ? 'onnx' : $f =~ m{^core/} ? 'core' : $f =~ m{^trace/} ? 'trace' : $f =~ m{^ngx_aegis_module/} ? 'edge' : $f =~ m{^workers/lib/} ? 'lib'
        : $f =~ m{^workers/roles/} ? 'role' : $f =~ m{^workers/} ? 'program'
        : $f =~ m{^t/act/} ? 'act' : $f =~ m{^t/vm/} ? 'vm' : $f =~ m{^t/fuzz/sensor/} ? 'decoders' : 'unit';
}

my @sources = files_of(qr{\.[ch]$});
cmp_ok(scalar @sources, '>', 20, 'there are sources to look at');
my (@bad, %n);
for my $f (@sources) {
    my $room = room_of($f);
    my ($dir) = $f =~ m{^(.*)/};
    $n{$room}++;
    my $text = slurp(root . "/$f");
    $text =~ s{/\*.*?\*/}{}gs;
    while ($text =~ /^\s*#\s*include\s+([<"])([^>"]+)[>"]/mg) {
        my ($kind, $name) = ($1, $2);
        if ($kind eq '<') {
            push @bad, "$f: <$name>" unless grep { $_ eq $name } @{ $room{$room}{system} };
            next;
        }
        push @bad, "$f: \"$name\"" unless grep { -f root . '/' . ($_ // $dir) . "/$name" } @{ $room{$room}{from} };
    }
}
is_deeply(\@bad, [], 'every #include is one that its room may use');
cmp_ok($n{$_} // 0, '>', 0, "room $_ was looked at") for qw(core trace edge lib role program act unit);

my @tables = grep { /tables\// } map { lines_match($_, qr/#\s*include\s+"(?:\.\.\/)*(?:core\/)?tables\//) } @sources;
is_deeply([ grep { !m{^(core|workers/lib|workers/ctl|t)/} } @tables ], [], 'nobody but core and lib expands a table');

is_deeply([ grep { m{^ngx_aegis_module/} && slurp(root . "/$_") =~ /\bcurl_(?:easy_perform|easy_init|multi_)/ } @sources ],
    ['ngx_aegis_module/ngx_http_aegis_jwks_fetch.c'], 'one file of the edge transfers with libcurl: the one that threads run');

my %base;
push @{ $base{ m{([^/]+)$} ? $1 : '' } }, $_ for grep { m{^(core|trace|ngx_aegis_module)/.*\.c$} } @sources;
is_deeply([ map { @$_ } grep { @$_ > 1 } values %base ], [],
    'file names of core and edge differ: nginx puts their objects into one place');

# --- link facts
my $core = build_dir . '/libaegis_core.a';
my $lib = build_dir . '/libaegis_lib.a';
my $module = build_dir . '/ngx_http_aegis_module.so';

sub symbols ($file, @args) {
    my @out;
    for (split /\n/, run_ok(['nm', @args, $file])) {
        push @out, [$1, $2] if /^\s*(?:[0-9a-f]+\s+)?([A-Za-z])\s+(\S+)$/;
    }
    return @out;
}

subtest 'the core is pure' => sub {
    ok(-f $core, 'libaegis_core.a is built') or return;
    my $pure = qr/^(?:
        aegis_\w+
      | json_(?!dump_file|dumpf|dumpfd|load_file|loadf|loadfd|dump_callback|set_alloc_funcs|object_seed)\w+
      | mem(?:cpy|move|set|cmp|chr|rchr|mem) | __mem(?:cpy|move|set)_chk
      | str(?:len|nlen|cmp|ncmp|chr|rchr|str|spn|cspn|pbrk|casecmp|ncasecmp|dup|ndup|tol|toll|toul|toull|tod)
      # events out of a string: no file is ever opened
      | yaml_(?:event_delete|parser_(?:initialize|delete|parse|set_encoding|set_input_string))
      | __isoc(?:99|23)_(?:sscanf|strto\w+) | __strcpy_chk | __strncpy_chk | __strcat_chk | strcpy | strncpy
      | (?:__)?v?snprintf(?:_chk)?
      | malloc | calloc | realloc | reallocarray | free
      # POSIX expressions of templates, which operators write
      | reg(?:comp|exec|free)
      | qsort | bsearch | abs | labs | llabs
      | log10 | log | exp | erfc | sqrt | fmin | fmax | floor | ceil | round | lround | llround | fabs | pow | fmod | trunc | isfinite | __isinf | __isnan | __finite
      | isnan | isinf | __ctype_b_loc | __ctype_tolower_loc | __ctype_toupper_loc | isalnum | isalpha | isdigit
      | SHA(?:1|256|512)_\w+ | SHA256 | HMAC | EVP_\w+ | CRYPTO_memcmp | OPENSSL_cleanse
      # public keys and signatures: numbers in and out; the error queue is put back as it was
      | BN_(?:bin2bn|free|num_bits|mod_word) | ECDSA_SIG_(?:new|set0|free) | i2d_ECDSA_SIG
      | OSSL_PARAM_(?:BLD_\w+|free) | ERR_(?:set_mark|pop_to_mark)
      | __stack_chk_fail | __assert_fail | abort | _GLOBAL_OFFSET_TABLE_
      | __errno_location
      | __(?:asan|ubsan|sanitizer)_\w+ | __afl_\w+ | __sanitizer_\w+
    )$/x;
    my %defined = map { $_->[1] => 1 } symbols($core, '-g', '--defined-only');
    my @undef = grep { !$defined{$_} } map { $_->[1] } symbols($core, '-u');
    my %seen;
    is_deeply([ sort grep { !/$pure/ && !$seen{$_}++ } @undef ], [], 'it reaches no I/O, clock, random, environment or log');
    is_deeply([ sort grep { /^aegis_/ && !$seen{$_}++ } @undef ], [], 'it needs nothing of ours that is not in it');
    SKIP: {
        skip 'sanitizers add data of their own', 1 if is_san;
        my @data = grep { /^\.(?:data|bss)\s+([1-9]\d*)/ } split /\n/, run_ok(['size', '-A', $core]);
        is_deeply(\@data, [], 'it has no variable that outlives a call');
    }
};

subtest 'every symbol says whose it is' => sub {
    for my $f ($core, $lib) {
        my ($name) = $f =~ m{([^/]+)$};
        ok(-f $f, "$name is built") or next;
        my @foreign = grep { !/^aegis_/ && !/^__(?:asan|odr_asan|ubsan)/ } map { $_->[1] } symbols($f, '-g', '--defined-only');
        is_deeply(\@foreign, [], "$name shows only aegis_ symbols");
    }
    ok(-f $module, 'the module is built') or return;
    my %ok = map { $_ => 1 } qw(ngx_http_aegis_module ngx_modules ngx_module_names ngx_module_order);
    my @shown = grep { !$ok{$_} && !/^__(?:asan|odr_asan|ubsan|bss|start|stop)/ && !/^(?:_init|_fini|_edata|_end)$/ }
        map { $_->[1] } symbols($module, '-D', '--defined-only');
    is_deeply(\@shown, [], 'the module shows nginx its module and nothing else');
    my @own = grep { !/^(?:aegis_|ngx_http_aegis_|ngx_module)/ } map { $_->[1] }
        grep { $_->[0] =~ /^[A-Z]$/ && $_->[0] !~ /^[UVWA]$/ } map { symbols($_, '--defined-only') }
        glob build_dir . '/nginx/addon/{core,trace,ngx_aegis_module}/*.o';
    is_deeply([ grep { !/^__(?:asan|odr_asan|ubsan)/ } @own ], [], 'every global symbol in it is prefixed');
};

subtest 'the module never blocks' => sub {
    ok(-f $module, 'the module is built') or return;
    my %blocks = map { $_ => 1 } qw(PQconnectdb PQconnectdbParams PQsetdbLogin PQexec PQexecParams PQexecPrepared
        PQprepare PQdescribePrepared PQdescribePortal PQreset PQendcopy PQgetCopyData_async PQputCopyEnd_sync
        sleep usleep nanosleep select poll getaddrinfo gethostbyname system popen fork);
    is_deeply([ grep { $blocks{$_} } map { s/@.*//r } map { $_->[1] } symbols($module, '-D', '-u') ], [],
        'it calls nothing of libpq or libc that waits');
};

done_testing;
