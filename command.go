package weixin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddy-weixin/caddy-weixin/internal/credential"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "weixin",
		Usage: "status|refresh",
		Short: "Shows and renews the tokens of WeChat accounts",
		Long: `
Shows the state of every WeChat account of a running Caddy, and renews their
tokens, by way of Caddy's admin endpoint. The commands exit with a status other
than 0 if something is wrong.
`,
		CobraFunc: func(cmd *cobra.Command) {
			status := &cobra.Command{
				Use:   "status [--json] [--address <interface>]",
				Short: "Shows the state of every account",
				Args:  cobra.NoArgs,
				RunE:  caddycmd.WrapCommandFuncForCobra(commandStatus),
			}
			status.Flags().Bool("json", false, "Print JSON, as the admin endpoint answers")
			refresh := &cobra.Command{
				Use:   "refresh <account> [--address <interface>]",
				Short: "Renews an account's token at once",
				Args:  cobra.ExactArgs(1),
				RunE:  caddycmd.WrapCommandFuncForCobra(commandRefresh),
			}
			for _, sub := range []*cobra.Command{status, refresh} {
				sub.Flags().String("address", "", "The address of the admin endpoint, if it is not the default")
				cmd.AddCommand(sub)
			}
		},
	})
}

func commandStatus(flags caddycmd.Flags) (int, error) {
	body, err := askAdmin(flags, http.MethodGet, "/weixin/accounts")
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	if flags.Bool("json") {
		fmt.Println(strings.TrimSpace(string(body)))
	}
	var statuses []AccountStatus
	if err := json.Unmarshal(body, &statuses); err != nil {
		return caddy.ExitCodeFailedStartup, fmt.Errorf("the admin endpoint's answer is no list of accounts: %v", err)
	}
	if !flags.Bool("json") {
		if err := printStatuses(os.Stdout, statuses, time.Now()); err != nil {
			return caddy.ExitCodeFailedStartup, err
		}
	}
	// It answers with an error while an account has no token.
	if _, err := askAdmin(flags, http.MethodGet, "/weixin/health"); err != nil {
		return caddy.ExitCodeFailedStartup, errors.New("an account has no usable token, or WeChat rejects it")
	}
	return caddy.ExitCodeSuccess, nil
}

// printStatuses prints a table, and below it what to do.
func printStatuses(w io.Writer, statuses []AccountStatus, now time.Time) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ACCOUNT\tAPPID\tMETHOD\tSTATE\tTOKEN\tEXPIRES IN\tFETCHES\tTODAY\tREPLAYS\tLAST ERROR")
	for _, s := range statuses {
		token, left, lastError := "-", "-", "-"
		if s.Fingerprint != "" {
			token, left = s.Fingerprint, max(s.ExpiresAt.Sub(now), 0).Round(time.Second).String()
			if !s.Usable && left != "0s" {
				left = "rejected"
			}
		}
		if s.LastError != nil {
			lastError = fmt.Sprintf("%s, %s ago", s.LastError.kind(), now.Sub(s.LastError.At).Round(time.Second))
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d/%d\t%d\t%s\n",
			s.Name, s.AppID, s.Method, s.State, token, left, s.Fetches, s.Quota.Fetches.Used, s.Quota.Fetches.Limit, s.Replays, lastError)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, s := range statuses {
		printTrouble(w, &s, now)
		for _, warning := range s.Warnings {
			fmt.Fprintf(w, "\n%s: %s\n", s.Name, warning.Advice)
		}
	}
	return nil
}

// printTrouble prints why an account is in a state that is none to be in, and what
// to do about it.
func printTrouble(w io.Writer, s *AccountStatus, now time.Time) {
	since := now.Sub(s.Since).Round(time.Second)
	switch {
	case s.State == credential.BackOff && s.LastError != nil:
		fmt.Fprintf(w, "\n%s: %s: %s\n", s.Name, s.LastError.cause(), s.LastError.Errmsg)
	case s.State == credential.Refused:
		fmt.Fprintf(w, "\n%s: rejected by WeChat for %s\n", s.Name, since)
	default:
		return
	}
	if s.Advice != "" {
		fmt.Fprintf(w, "%s: %s\n", s.Name, s.Advice)
	}
}

// kind returns the failure in a word.
func (e *StatusError) kind() string {
	if e.Unreachable {
		return "unreachable"
	}
	return strconv.Itoa(e.Errcode)
}

// cause returns the failure in a few words.
func (e *StatusError) cause() string {
	if e.Unreachable {
		return e.kind()
	}
	return "errcode " + e.kind()
}

func commandRefresh(flags caddycmd.Flags) (int, error) {
	path := "/weixin/accounts/" + url.PathEscape(flags.Arg(0))
	before, err := askAccount(flags, http.MethodGet, path)
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	after, err := askAccount(flags, http.MethodPost, path+"/refresh")
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	what := "new token"
	if after.Fingerprint == before.Fingerprint {
		what = "WeChat goes on with token"
	}
	fmt.Printf("%s: %s %s, expires in %s\n", after.Name, what, after.Fingerprint, time.Until(after.ExpiresAt).Round(time.Second))
	return caddy.ExitCodeSuccess, nil
}

// askAccount asks the admin endpoint for an account.
func askAccount(flags caddycmd.Flags, method, path string) (*AccountStatus, error) {
	body, err := askAdmin(flags, method, path)
	if err != nil {
		return nil, err
	}
	s := new(AccountStatus)
	if err := json.Unmarshal(body, s); err != nil {
		return nil, fmt.Errorf("the admin endpoint's answer is no account: %v", err)
	}
	return s, nil
}

// askAdmin sends a request to the admin endpoint.
func askAdmin(flags caddycmd.Flags, method, path string) ([]byte, error) {
	address, err := caddycmd.DetermineAdminAPIAddress(flags.String("address"), nil, "", "")
	if err != nil {
		return nil, err
	}
	res, err := caddycmd.AdminAPIRequest(address, method, path, nil, bytes.NewReader(nil))
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	return io.ReadAll(res.Body)
}
