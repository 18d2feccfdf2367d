/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs in a guest while it moves (test_migration_proof.py): writes journals of numbered, summed records to disks, sends numbered
 * frames through network cards, keeps memory whose contents it knows.  What is not as it was left is told on the console.
 *
 *   migration-guest disk NAME PATH | net NAME INTERFACE | mem NAME MEGABYTES ...    until a line comes on standard input
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <arpa/inet.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define RECORD    512u
#define SLOTS     256u /* the journal's; then it begins anew */
#define FRAME     256u
#define FRAME_US  4000
#define ETHERTYPE 0x88b5 /* for local experiments (IEEE 802) */
#define WORKERS   16

static volatile sig_atomic_t ended;

static void end(int sig)
{
    ended = 1;
}

static uint32_t crc32_of(const uint8_t *data, size_t len)
{
    uint32_t crc = UINT32_MAX;

    for (size_t i = 0; i < len; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0xedb88320) : 0);
        }
    }
    return ~crc;
}

/* One write a line: lines of several processes don't mix. */
static void say(const char *what, const char *name, uint64_t number)
{
    char line[160];
    int len = snprintf(line, sizeof(line), "test: %s %s %llu\n", what, name, (unsigned long long)number);

    if (write(STDOUT_FILENO, line, (size_t)len) != len) {
        _exit(2);
    }
}

static void say_now_and_then(const char *name, uint64_t number)
{
    static int64_t said;
    struct timespec now;
    int64_t fifths;

    clock_gettime(CLOCK_MONOTONIC, &now);
    fifths = now.tv_sec * 5 + now.tv_nsec / 200000000;
    if (fifths != said) {
        said = fifths;
        say("at", name, number);
    }
}

/* "MIGR", number, sum of the rest; numbers and sum as this CPU has them (little endian). */
static void make(uint8_t *data, size_t size, uint32_t number)
{
    uint32_t crc, next = number;

    for (size_t i = 12; i < size; i++) {
        next = next * 1103515245 + 12345;
        data[i] = (uint8_t)(next >> 16);
    }
    memcpy(data, "MIGR", 4);
    memcpy(data + 4, &number, 4);
    crc = crc32_of(data + 12, size - 12);
    memcpy(data + 8, &crc, 4);
}

/* --- disks --- */

/* What was written a round ago must still be there, and nothing older or newer. */
static bool slot_is(const uint8_t *slot, uint8_t *expected, uint32_t number)
{
    if (number <= SLOTS) {
        memset(expected, 0, RECORD);
    } else {
        make(expected, RECORD, number - SLOTS);
    }
    return !memcmp(slot, expected, RECORD);
}

static void write_disk(const char *name, const char *path)
{
    uint8_t *record = aligned_alloc(4096, 4096), *slot = aligned_alloc(4096, 4096), *expected = malloc(RECORD);
    int fd = open(path, O_RDWR | O_DIRECT | O_SYNC);
    uint32_t number = 0;

    if (fd < 0) {
        say("error-open", path, (uint64_t)errno);
    }
    while (fd >= 0 && !ended) {
        off_t at = (off_t)(++number % SLOTS) * RECORD;

        if (pread(fd, slot, RECORD, at) != RECORD) {
            say("error-read", name, number);
        } else if (!slot_is(slot, expected, number)) {
            say("error-record-differs", name, number);
        }
        make(record, RECORD, number);
        if (pwrite(fd, record, RECORD, at) != RECORD) {
            say("error-write", name, number);
        }
        say_now_and_then(name, number);
    }
    say("last", name, number);
}

/* --- cards --- */

static int open_card(const char *interface, uint8_t *mac)
{
    struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_protocol = htons(ETHERTYPE)};
    int fd = socket(AF_PACKET, SOCK_RAW, htons(ETHERTYPE));
    struct ifreq request = {0};

    snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", interface);
    if (fd < 0 || ioctl(fd, SIOCGIFHWADDR, &request)) {
        return -1;
    }
    memcpy(mac, request.ifr_hwaddr.sa_data, 6);
    to.sll_ifindex = (int)if_nametoindex(interface);
    return bind(fd, (struct sockaddr *)&to, sizeof(to)) ? -1 : fd;
}

static void send_frames(const char *name, const char *interface)
{
    static const uint8_t type[2] = {ETHERTYPE >> 8, ETHERTYPE & 0xff};
    uint8_t frame[FRAME] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    int fd = open_card(interface, frame + 6);
    uint32_t number = 0;

    if (fd < 0) {
        say("error-open", interface, (uint64_t)errno);
    }
    memcpy(frame + 12, type, sizeof(type));
    while (fd >= 0 && !ended) {
        make(frame + 14, FRAME - 14, number + 1);
        if (send(fd, frame, FRAME, 0) == FRAME) {
            number++;
        } else if (errno != ENOBUFS && errno != ENETDOWN) { /* while the link is down */
            say("error-send", name, (uint64_t)errno);
        }
        usleep(FRAME_US);
        say_now_and_then(name, number);
    }
    say("last", name, number);
}

/* --- memory --- */

static void keep_memory(const char *name, const char *megabytes)
{
    size_t words = strtoul(megabytes, NULL, 10) * ((1u << 20) / sizeof(uint64_t));
    uint64_t *memory = malloc(words * sizeof(*memory)), round = 0;

    for (size_t i = 0; i < words; i++) {
        memory[i] = i;
    }
    for (; !ended; round++) {
        for (size_t i = 0; i < words; i++) {
            if (memory[i] != i + round) {
                say("error-memory-differs", name, i);
                memory[i] = i + round;
            }
            memory[i]++;
        }
        say_now_and_then(name, round);
    }
    say("last", name, round);
}

static const struct {
    const char *kind;
    void (*run)(const char *name, const char *what);
} workers[] = {{"disk", write_disk}, {"net", send_frames}, {"mem", keep_memory}};

/* What is typed would come back in the middle of a line that is told. */
static void echo_off(void)
{
    struct termios t;

    if (!tcgetattr(STDIN_FILENO, &t)) {
        t.c_lflag &= ~(tcflag_t)ECHO;
        tcsetattr(STDIN_FILENO, TCSANOW, &t);
    }
}

int main(int argc, char **argv)
{
    pid_t children[WORKERS];
    int count = 0;
    char line[16];

    signal(SIGTERM, end);
    echo_off();
    for (int i = 1; i + 2 < argc && count < WORKERS; i += 3) {
        children[count] = fork();
        for (size_t k = 0; !children[count] && k < sizeof(workers) / sizeof(*workers); k++) {
            if (!strcmp(argv[i], workers[k].kind)) {
                workers[k].run(argv[i + 1], argv[i + 2]);
                _exit(0);
            }
        }
        count++;
    }
    while (read(STDIN_FILENO, line, sizeof(line)) < 0 && errno == EINTR) {
    }
    while (count) {
        kill(children[--count], SIGTERM);
        waitpid(children[count], NULL, 0);
    }
    return 0;
}
