package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/batchagent/batchagent/bench/internal/figures"
)

func main() {
	names := flag.String("workload", "", "workloads to run, such as c,d; default all, or d on a real server")
	seeds := flag.Int("seeds", 5, "number of seeds; the summary gives medians over them")
	first := flag.Int("first", 1, "first seed; fresh seeds show whether a policy fits those that it was tuned on")
	agents := flag.Int("n", 0, "agents; 0 uses the workload's default")
	url := flag.String("backend", "", "run workload d or d-long on a real server at this `URL` instead, such as vllm://127.0.0.1:8000")
	rounds := flag.Int("rounds", 3, "rounds on a real server")
	fixedArms := flag.String("fixed", "3,4", "numbers of agents to compare with on a real server")
	arms := flag.String("arms", "", "a regular expression: run only the arms whose names match")
	smoke := flag.Bool("smoke", false, "a small run that only checks for errors")
	flag.Parse()
	if *smoke {
		*names, *seeds = "d", 1
	}
	only, err := regexp.Compile(*arms)
	if err != nil {
		fmt.Fprintln(os.Stderr, "kv: -arms:", err)
		os.Exit(2)
	}
	figures.Header(os.Stdout, "bench/kv")
	if *url != "" {
		if err := real(*url, cmp.Or(*names, "d"), *fixedArms, cmp.Or(*agents, scenarios["d"].agents), *rounds); err != nil {
			fmt.Fprintln(os.Stderr, "kv:", err)
			os.Exit(1)
		}
		return
	}
	for name := range strings.SplitSeq(cmp.Or(*names, "a,a-late,b,c,c-big,d,d-long,e,e-big,f,f-input,g,h,i,j"), ",") {
		s, ok := scenarios[name]
		if !ok {
			fmt.Fprintf(os.Stderr, "kv: unknown workload %q; known are %s\n", name, strings.Join(slices.Sorted(maps.Keys(scenarios)), ", "))
			os.Exit(2)
		}
		if *agents > 0 {
			s.agents = *agents
		}
		if err := s.compare(os.Stdout, name, *first, *seeds, only); err != nil {
			fmt.Fprintln(os.Stderr, "kv:", err)
			os.Exit(1)
		}
	}
}

func real(url, name, fixed string, agents, rounds int) error {
	var numbers []int
	for text := range strings.SplitSeq(fixed, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return fmt.Errorf("-fixed: %q is not a number of agents", text)
		}
		numbers = append(numbers, n)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	return compareReal(ctx, os.Stdout, url, name, agents, rounds, numbers)
}
