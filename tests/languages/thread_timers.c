/* The real-time timer belongs to the process: any thread sets it, one that does not block hears. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile pid_t heard;
static pid_t number;

static void hear(int signal)
{
    (void)signal;
    heard = gettid();
}

static void set(int milliseconds, int interval)
{
    struct itimerval timer = {{0, interval * 1000}, {0, milliseconds * 1000}};

    setitimer(ITIMER_REAL, &timer, NULL);
}

static int runs(void)
{
    struct itimerval timer;

    getitimer(ITIMER_REAL, &timer);
    return timer.it_value.tv_sec || timer.it_value.tv_usec;
}

static void block(int how)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    pthread_sigmask(how, &set, NULL);
}

static void *sets(void *unused)
{
    set(20, 0);
    return unused;
}

static void *hears(void *unused)
{
    number = gettid();
    block(SIG_UNBLOCK);
    while (!heard)
        usleep(1000);
    return unused;
}

int main(void)
{
    pthread_t thread;
    sigset_t none;
    int status;

    signal(SIGALRM, hear);
    block(SIG_BLOCK);
    pthread_create(&thread, NULL, sets, NULL);
    pthread_join(thread, NULL);
    printf("another thread's timer runs: %d\n", runs());
    sigemptyset(&none);
    sigsuspend(&none);
    printf("heard by the first thread: %d, runs: %d\n", heard == getpid(), runs());

    heard = 0;
    pthread_create(&thread, NULL, hears, NULL);
    set(20, 5);
    pthread_join(thread, NULL);
    printf("heard by the other thread: %d, runs on: %d\n", heard == number, runs());

    fflush(stdout);
    if (fork() == 0)
        _exit(runs());
    wait(&status);
    printf("a child's timer runs: %d\n", WEXITSTATUS(status));
    set(0, 0);
    return 0;
}
