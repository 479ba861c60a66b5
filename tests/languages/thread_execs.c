/* execve in a thread that is not its process's first one: the others end, and the new program has
   the process's number and the thread's signal mask. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char *again[] = {"thread_execs", "", "", "", 0};

static void *execute(void *leader_ended)
{
    char number[16], thread[16];
    sigset_t set;

    if (leader_ended)
        usleep(20000);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &set, 0);
    raise(SIGUSR2);
    execl("./missing", "missing", (char *)0);
    sprintf(number, "%d", getpid());
    sprintf(thread, "%ld", syscall(SYS_gettid));
    again[1] = number, again[2] = thread, again[3] = leader_ended ? "ended" : "waits";
    execv("./thread_execs", again);
    return 0;
}

static void *wait_for_ever(void *unused)
{
    pthread_mutex_lock(&mutex);
    return unused;
}

static void *spin(void *unused)
{
    for (;;)
        sched_yield();
    return unused;
}

static void child(int leader_ends)
{
    pthread_t one, two, three;

    open("thread_execs", O_RDONLY | O_CLOEXEC);
    pthread_mutex_lock(&mutex);
    pthread_create(&one, 0, wait_for_ever, 0);
    pthread_create(&two, 0, spin, 0);
    pthread_create(&three, 0, execute, leader_ends ? &mutex : 0);
    if (leader_ends)
        pthread_exit(0);
    pthread_join(one, 0);
}

static int executed(char **argv)
{
    sigset_t set, pending;

    sigprocmask(SIG_BLOCK, 0, &set);
    sigpending(&pending);
    printf("leader %s; process %d, thread %d, other %d\n", argv[3], getpid() == atoi(argv[1]),
           syscall(SYS_gettid) == atoi(argv[1]), atoi(argv[2]) == atoi(argv[1]));
    printf("blocked %d %d %d, pending %d %d\n", sigismember(&set, SIGUSR1),
           sigismember(&set, SIGUSR2), sigismember(&set, SIGTERM),
           sigismember(&pending, SIGUSR1), sigismember(&pending, SIGUSR2));
    printf("closed %d, thread gone %d\n", fcntl(3, F_GETFD),
           kill(atoi(argv[2]), 0));
    return 42;
}

int main(int argc, char **argv)
{
    int status, i, pid;

    if (argc > 1)
        return executed(argv);
    for (i = 0; i < 2; i++) {
        pid = fork();
        if (!pid)
            child(i);
        pid -= wait(&status);
        printf("%d %d\n", pid == 0, status);
        fflush(stdout);
    }
    return 0;
}
