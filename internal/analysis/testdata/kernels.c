// kernels.wasm is this file:
//
//	clang --target=wasm32-wasi -O2 --sysroot=/usr -c kernels.c -o kernels.o
//	wasm-ld /usr/lib/wasm32-wasi/crt1-command.o kernels.o -L/usr/lib/wasm32-wasi -lc --strip-debug -o kernels.wasm

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static int cmp(const void*a,const void*b){return *(const int*)a-*(const int*)b;}
__attribute__((noinline)) double *matmul(int n,const double*a,const double*b){
  double*c=calloc(n*n,sizeof*c);
  for(int i=0;i<n;i++)for(int j=0;j<n;j++){double s=0;for(int k=0;k<n;k++)s+=a[i*n+k]*b[k*n+j];c[i*n+j]=s;}
  return c;}
__attribute__((noinline)) int fib(int n){return n<2?n:fib(n-1)+fib(n-2);}
__attribute__((noinline)) int even(int n); __attribute__((noinline)) int odd(int n){ if(n==0) return 0; if(n%7==0) putchar('.'); return even(n-1)+1;}
__attribute__((noinline)) int even(int n){ if(n==0) return 1; if(n%5==0) fib(n); return odd(n-1)*3;}
__attribute__((noinline)) unsigned hash(const unsigned char*p,size_t n){unsigned h=1;for(size_t i=0;i<n;i++)h=h*31+p[i];return h;}
__attribute__((noinline)) int process(char*buf,size_t n){int r=0;for(int i=0;i<100;i++){r+=hash((unsigned char*)buf,n);qsort(buf,n/4,4,cmp);}return r;}
int main(int argc,char**argv){
 int n=argc>1?atoi(argv[1]):64; double*a=calloc(n*n,8),*b=calloc(n*n,8); for(int i=0;i<n*n;i++)a[i]=b[i]=i;
 double*c=matmul(n,a,b); printf("%f %d %d\n",c[n],fib(n/4),odd(20));
 char buf[4096]; size_t k=fread(buf,1,sizeof buf,stdin); printf("%d\n",process(buf,k)); free(c); return 0;}
