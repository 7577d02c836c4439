package weixin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddy-weixin/caddy-weixin/internal/credential"
)

// command is `caddy weixin`.
func command() caddycmd.Command {
	return caddycmd.Command{
		Name:  "weixin",
		Usage: "status|refresh|version",
		Short: "Shows and renews the tokens of WeChat accounts",
		Long: `
Shows the state of every WeChat account and third-party platform of a running
Caddy, and renews their tokens, by way of Caddy's admin endpoint. The commands
exit with a status other than 0 if something is wrong.
`,
		CobraFunc: addCommands,
	}
}

// addCommands adds the subcommands. Their errors are text, as Caddy's own log
// would put the admin endpoint's JSON into JSON of its own.
func addCommands(cmd *cobra.Command) {
	cmd.Args = cobra.ArbitraryArgs // they are commands that do not exist
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return errUnknownCommand(cmd, args[0])
		}
		return cmd.Help()
	}
	cmd.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		if name := c.Flags().Arg(0); c == cmd && name != "" {
			return errUnknownCommand(c, name) // whose flags are not known for that reason
		}
		return err
	})
	status := &cobra.Command{
		Use:   "status [--json] [--address <interface>]",
		Short: "Shows the state of every account and platform",
		Args:  noArguments,
		RunE:  commandStatus,
	}
	status.Flags().Bool("json", false, "Print JSON, as the admin endpoint answers")
	refresh := &cobra.Command{
		Use:               "refresh <account>|<platform>|<platform>:<appid> [--address <interface>]",
		Short:             "Renews at once the token of an account, of a platform, or of one that has authorised it",
		Args:              oneAccount,
		ValidArgsFunction: completeAccount,
		RunE:              commandRefresh,
	}
	for _, sub := range []*cobra.Command{status, refresh} {
		sub.Flags().String("address", "", "The address of the admin endpoint, if it is not the default")
	}
	cmd.AddCommand(status, refresh, &cobra.Command{
		Use:   "version",
		Short: "Shows the version of the WeChat module",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), moduleVersion())
			return err
		},
	})
}

func errUnknownCommand(cmd *cobra.Command, name string) error {
	return fmt.Errorf("unknown command %s of %s: write one of status, refresh, version", name, cmd.CommandPath())
}

// oneAccount refuses arguments that are not the name of one account.
func oneAccount(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("write the name of one account: %s <account>; %s status shows all names", cmd.CommandPath(), cmd.Parent().CommandPath())
	}
	return nil
}

// noArguments refuses any argument.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("unknown command %q for %q: it takes no argument, so leave that out", args[0], cmd.CommandPath())
	}
	return nil
}

func commandStatus(cmd *cobra.Command, _ []string) error {
	all, err := askServed(cmd)
	if err != nil {
		return err
	}
	if asJSON, _ := cmd.Flags().GetBool("json"); asJSON {
		err = json.NewEncoder(cmd.OutOrStdout()).Encode(all.raw)
	} else {
		err = printStatuses(cmd.OutOrStdout(), all.statuses, time.Now())
		printPlatforms(cmd.OutOrStdout(), all.platforms, time.Now())
	}
	if err != nil {
		return err
	}
	// It answers with an error while an account has no token.
	if _, err := askAdmin(cmd, http.MethodGet, "/weixin/health"); err != nil {
		return errors.New("an account has no usable token, or WeChat rejects it")
	}
	return nil
}

// quotaText returns how much of a quota is used up. WeCom has none, for one.
func quotaText(q credential.Quota) string {
	if q.Limit == 0 {
		return strconv.Itoa(q.Used)
	}
	return fmt.Sprintf("%d/%d", q.Used, q.Limit)
}

// printStatuses prints a table, and below it what to do.
func printStatuses(w io.Writer, statuses []AccountStatus, now time.Time) error {
	var t table
	t.row("ACCOUNT", "KIND", "ID", "METHOD", "STATE", "TOKEN", "EXPIRES IN", "FETCHES", "TODAY", "REPLAYS", "LAST ERROR")
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
		t.row(s.Name, s.Kind, s.id(), s.Method, string(s.State), token, left, strconv.FormatInt(s.Fetches, 10),
			quotaText(s.Quota.Fetches), strconv.FormatInt(s.Replays, 10), lastError)
	}
	if err := t.writeTo(w); err != nil {
		return err
	}
	for _, s := range statuses {
		printTrouble(w, &s, now)
		printTickets(w, &s, now)
	}
	printWarnings(w, statuses)
	return nil
}

// printWarnings prints what is to be done beside that, each thing once.
func printWarnings(w io.Writer, statuses []AccountStatus) {
	var order []string
	names := make(map[string][]string)
	for _, s := range statuses {
		for _, warning := range s.Warnings {
			if names[warning.Advice] == nil {
				order = append(order, warning.Advice)
			}
			names[warning.Advice] = append(names[warning.Advice], s.Name)
		}
	}
	for _, advice := range order {
		of := names[advice]
		if len(of) == len(statuses) && len(of) > 1 {
			of = []string{"all accounts"}
		}
		fmt.Fprintf(w, "\n%s: %s\n", strings.Join(of, ", "), advice)
	}
}

// printTickets prints which tickets are kept.
func printTickets(w io.Writer, s *AccountStatus, now time.Time) {
	for _, t := range s.Tickets {
		fmt.Fprintf(w, "\n%s: ticket %s", s.Name, t.Type)
		if t.Fingerprint != "" {
			fmt.Fprintf(w, " %s, confirmed %s ago", t.Fingerprint, now.Sub(t.CheckedAt).Round(time.Second))
		}
		if e := t.LastError; e != nil {
			fmt.Fprintf(w, ", last error %s %s ago: %s", e.kind(), now.Sub(e.At).Round(time.Second), e.Errmsg)
		}
		fmt.Fprintln(w)
	}
}

// printTrouble prints why an account is in a state that is none to be in, and what
// to do about it.
func printTrouble(w io.Writer, s *AccountStatus, now time.Time) {
	since := now.Sub(s.Since).Round(time.Second)
	switch {
	case s.isFailing():
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

// servedStatus is what the admin endpoint tells of all accounts, and of the platforms
// behind them.
type servedStatus struct {
	raw       []json.RawMessage
	statuses  []AccountStatus // of the platforms too
	platforms []PlatformStatus
}

func askServed(cmd *cobra.Command) (*servedStatus, error) {
	all := &servedStatus{raw: []json.RawMessage{}}
	for _, path := range []string{"/weixin/accounts", "/weixin/platforms"} {
		body, err := askAdmin(cmd, http.MethodGet, path)
		if err != nil {
			return nil, err
		}
		var members []json.RawMessage
		if err := json.Unmarshal(body, &members); err != nil {
			return nil, fmt.Errorf("the admin endpoint's answer is no list of accounts: %v", err)
		}
		for _, member := range members {
			var s PlatformStatus
			if err := json.Unmarshal(member, &s); err != nil {
				return nil, fmt.Errorf("the admin endpoint's answer is no list of accounts: %v", err)
			}
			all.statuses = append(all.statuses, s.AccountStatus)
			if path == "/weixin/platforms" {
				all.platforms = append(all.platforms, s)
			}
		}
		all.raw = append(all.raw, members...)
	}
	return all, nil
}

// printPlatforms prints how old the platforms' tickets are, and how many accounts
// have authorised them.
func printPlatforms(w io.Writer, platforms []PlatformStatus, now time.Time) {
	for _, p := range platforms {
		ticket := "no ticket"
		if !p.Ticket.ReceivedAt.IsZero() {
			ticket = fmt.Sprintf("ticket received %s ago", now.Sub(p.Ticket.ReceivedAt).Round(time.Second))
		}
		known := "?"
		if p.Authorizers.Known != nil {
			known = strconv.Itoa(*p.Authorizers.Known)
		}
		fmt.Fprintf(w, "\n%s: %s, authorizers %s, in memory %d\n", p.Name, ticket, known, p.Authorizers.InMemory)
	}
}

// findAccount returns the path of an account, of a platform, or of <platform>:<appid>,
// and its status.
func findAccount(cmd *cobra.Command, name string) (path string, s *AccountStatus, err error) {
	if of, appID, ok := strings.Cut(name, ":"); ok {
		path = "/weixin/platforms/" + url.PathEscape(of) + "/authorizers/" + url.PathEscape(appID)
		s, err = askAccount(cmd, http.MethodGet, path)
		return path, s, err
	}
	path = "/weixin/accounts/" + url.PathEscape(name)
	if s, err = askAccount(cmd, http.MethodGet, path); err == nil {
		return path, s, nil
	}
	path = "/weixin/platforms/" + url.PathEscape(name)
	s, platformErr := askAccount(cmd, http.MethodGet, path)
	if platformErr != nil {
		return "", nil, err
	}
	return path, s, nil
}

func commandRefresh(cmd *cobra.Command, args []string) error {
	path, before, err := findAccount(cmd, args[0])
	if err != nil {
		return err
	}
	after, err := askAccount(cmd, http.MethodPost, path+"/refresh")
	if err != nil {
		return err
	}
	what := "new token"
	if after.Fingerprint == before.Fingerprint {
		what = "WeChat goes on with token"
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s %s, expires in %s\n", after.Name, what, after.Fingerprint, time.Until(after.ExpiresAt).Round(time.Second))
	return err
}

// completeAccount completes the name of an account or a platform, if the admin endpoint tells
// the names.
func completeAccount(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	all, err := askServed(cmd)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names := make([]string, len(all.statuses))
	for i, s := range all.statuses {
		names[i] = s.Name + "\t" + string(s.State)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// askAccount asks the admin endpoint for an account.
func askAccount(cmd *cobra.Command, method, path string) (*AccountStatus, error) {
	body, err := askAdmin(cmd, method, path)
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
func askAdmin(cmd *cobra.Command, method, path string) ([]byte, error) {
	address, _ := cmd.Flags().GetString("address")
	address, err := caddycmd.DetermineAdminAPIAddress(address, nil, "", "")
	if err != nil {
		return nil, err
	}
	res, err := caddycmd.AdminAPIRequest(address, method, path, nil, bytes.NewReader(nil))
	if err != nil {
		return nil, adminError(err, address)
	}
	defer res.Body.Close()
	return io.ReadAll(res.Body)
}

// adminError returns what the admin endpoint has answered, without the JSON that
// it is wrapped in, or that there was no answer.
func adminError(err error, address string) error {
	_, answer, ok := strings.Cut(err.Error(), "caddy responded with error: HTTP ")
	if !ok {
		return fmt.Errorf("no Caddy answers at %s: start it, or write where its admin endpoint is, --address=<host>:<port> (%v)", address, err)
	}
	status, body, _ := strings.Cut(answer, ": ")
	var told struct {
		Error string `json:"error"`
	}
	if json.Unmarshal([]byte(body), &told) != nil || told.Error == "" {
		return fmt.Errorf("the admin endpoint at %s answers with status %s: is it that of a Caddy with this module?", address, status)
	}
	return errors.New(told.Error)
}
