# SPDX-License-Identifier: GPL-2.0-or-later
# Run by bash on the host and in a guest (tests/functional/test_userland.py): both must print the same.
set -e
cd /tmp
work=$(mktemp -d)
cd "$work"
export LC_ALL=C
echo "bash $((123456789 * 987654321 % 1000000007)) $(for ((i = 0, s = 0; i < 20000; i++)); do ((s = (s * 31 + i) & 0xffffff)); done; echo "$s")"
declare -A words
for word in to be or not to be; do words[$word]=$((${words[$word]:-0} + 1)); done
echo "bash ${words[to]} ${words[be]} ${words[not]} ${#words[@]}"
seq 1 20000 >numbers
echo "coreutils $(sha256sum <numbers | cut -c1-20) $(md5sum <numbers | cut -c1-20) $(cksum <numbers)"
echo "coreutils $(sort -r numbers | uniq | tail -n 3 | paste -sd,) $(shuf --random-source=numbers numbers | sort -n | cksum)"
echo "coreutils $(factor 1234567890123457) $(numfmt --to=iec 123456789) $(printf '%e' 1234.5678) $(base64 <numbers | tr -d '\n' | wc -c)"
echo "coreutils $(od -An -tfD -N16 numbers | tr -s ' ') $(split -n 7 numbers part && cat part* | cksum && ls part* | wc -l)"
python3 - <<'PY'
import hashlib, math, struct, sys
print("python", pow(3, 10007, 10**40), sum(i * i for i in range(100000)), "%.12g" % sum(math.sqrt(i) for i in range(20000)))
print("python", " ".join("%.11g" % f(0.7) for f in (math.sin, math.cos, math.tan, math.exp, math.log, math.atan, math.gamma)))
print("python", 0.1 + 0.2, 1e308 * 10, -1 / 3, 5e-324 / 2, float("nan"), math.fsum([0.1] * 10), struct.pack("<d", 1 / 7).hex())
print("python", hashlib.sha512(b"x" * 100000).hexdigest()[:30], hashlib.blake2b(b"y" * 5000).hexdigest()[:30])
words = {}
for i in range(50000):
    words["k%d" % (i * 7919 % 4001)] = words.get("k%d" % (i * 7919 % 4001), 0) + i
print("python", len(words), sorted(words.items(), key=lambda kv: (kv[1], kv[0]))[1234])
try:
    (lambda: [][1])()
except IndexError as e:
    print("python", e)
PY
perl -e 'my %h; my $t = join(" ", map { $_ * $_ % 97 } 1 .. 3000); $h{$1}++ while $t =~ /(\d+)/g;
    print "perl ", join(",", map { "$_=$h{$_}" } (sort { $a <=> $b } keys %h)[0 .. 5]), " ", unpack("%32C*", $t), " ",
    sprintf("%.15g %s %x", 10 / 3, 2 ** 60, ~0), " ", join("", reverse split //, "emulator"), "\n";'
cat >program.c <<'C'
#include <fenv.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static jmp_buf back;
static long total;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void caught(int sig) { (void)sig; siglongjmp(back, 1); }

static void *add(void *arg)
{
    for (int i = 0; i < 20000; i++) {
        pthread_mutex_lock(&lock);
        total += (long)(intptr_t)arg;
        pthread_mutex_unlock(&lock);
    }
    return NULL;
}

static int compare(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

int main(void)
{
    static int numbers[50000];
    uint64_t hash = 14695981039346656037u;
    long double x = 1;
    double sum = 0;
    pthread_t threads[4];

    for (int i = 0; i < 50000; i++) {
        numbers[i] = (int)((unsigned)i * 2654435761u >> 8);
    }
    qsort(numbers, 50000, sizeof(int), compare);
    for (int i = 0; i < 50000; i++) {
        hash = (hash ^ (unsigned)numbers[i]) * 1099511628211u;
        sum += sqrt(numbers[i]) / (i + 1);
    }
    for (int i = 1; i < 60; i++) {
        x = x * (i + 0.5L) / (i + 0.25L);
    }
    printf("gcc %016llx %.17g %.20Lg %.11g\n", (unsigned long long)hash, sum, x, pow(sum, 1.7));
    fesetround(FE_UPWARD);
    volatile double third = 1;
    third /= 3;
    fesetround(FE_TONEAREST);
    feclearexcept(FE_ALL_EXCEPT);
    volatile double zero = 0;
    zero = 1 / zero;
    printf("gcc %a %g %d\n", third, zero, fetestexcept(FE_DIVBYZERO) != 0);
    for (int i = 0; i < 4; i++) {
        pthread_create(&threads[i], NULL, add, (void *)(intptr_t)(i + 1));
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    signal(SIGSEGV, caught);
    signal(SIGFPE, caught);
    volatile int none = 0, faults = 0;
    if (!sigsetjmp(back, 1)) {
        *(volatile int *)8 = 1;
    } else {
        faults++;
    }
    if (!sigsetjmp(back, 1)) {
        none = 1 / none;
    } else {
        faults++;
    }
    printf("gcc %ld %d %zu\n", total, faults, strlen("the end"));
    return 0;
}
C
for level in 0 2; do gcc -O$level -o program program.c -lm -pthread && ./program; done
echo "openssl $(openssl dgst -sha256 -r <numbers | cut -c1-20) $(openssl dgst -sha3-512 -r <numbers | cut -c1-20) $(openssl dgst -md5 -r <numbers | cut -c1-20)"
for cipher in aes-128-cbc aes-256-ctr aes-256-gcm chacha20 camellia-128-cbc; do
    key=000102030405060708090a0b0c0d0e0f
    [ $cipher = aes-256-gcm ] && continue # `enc` has no AEAD
    openssl enc -$cipher -K $key$key -iv $key <numbers 2>/dev/null | openssl dgst -sha1 -r | sed "s/ .*//; s/^/openssl $cipher /"
done
openssl genrsa -out key.pem 1024 2>/dev/null
openssl dgst -sha256 -sign key.pem -out signature numbers
openssl rsa -in key.pem -pubout -out public.pem 2>/dev/null
openssl dgst -sha256 -verify public.pem -signature signature numbers
openssl prime 170141183460469231731687303715884105727
openssl speed -seconds 1 -bytes 1024 sha256 >/dev/null 2>&1 && echo openssl speed ran
cd /
rm -r "$work"
echo all done
